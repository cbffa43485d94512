"""Recording that an original is back where it was, or a copy in completed/."""

import os

from mgmt.archive import Tree, covers, hash_tree, look_again
from mgmt.catalog import Catalog, FileRecord, FileStatus, FreeRecord, Location, Place, Role, UploadRecord
from mgmt.errors import MgmtError
from mgmt.progress import Progress
from mgmt.services.steps.local_files import describe, host
from mgmt.services.steps.move_original import same_as_archived


def holds(path: str, digest: str | None, kept: str | None, progress: Progress) -> bool:
    """Whether what is at `path` has all of the content with this digest; it is read, and may be anything."""
    asked = kept or ""
    progress.start(f"compare {os.path.basename(path)}")
    try:
        tree = Tree(path, os.path.basename(path))
        seen = hash_tree(tree, progress, owners="owners:" in asked, xattrs="xattrs:" in asked)
        look_again(tree, seen)
    except (MgmtError, OSError):
        return False
    finally:
        progress.stop()
    return digest is not None and seen.digest == digest and covers(seen.kept, asked) and not seen.skipped


def is_original(path: str, upload: UploadRecord, progress: Progress) -> bool:
    """Whether `path` is what `upload` archived, moved or restored."""
    return same_as_archived(path, upload, moved=True) or holds(path, upload.digest, upload.kept, progress)


def note_returned(upload: UploadRecord, catalog: Catalog) -> None:
    """Record that the original of `upload` is where it was. Call it when `is_original` holds for its path."""
    target = str(upload.target_path)
    with catalog.transaction():
        for copy, _ in catalog.metadata.files_of(upload, Role.COMPLETED):
            if not os.path.lexists(copy.path):
                copy.status, copy.error_message = FileStatus.DELETED, None
        original = describe(target, Location.LOCAL, FileStatus.COMPLETED)
        original.digest, original.kept, original.checksum = upload.digest, upload.kept, upload.checksum_original
        original.size = original.original_size = upload.original_size
        original.operation_id = upload.operation_id
        catalog.metadata.save_file_record(original)


def note_copied_back(copy: FileRecord, catalog: Catalog) -> None:
    """Record that a `copy` that was removed is at its place again. Call it when it `holds` what it held."""
    now = describe(copy.path, copy.location, FileStatus.COMPLETED)
    with catalog.transaction():
        copy.status, copy.error_message = FileStatus.COMPLETED, None
        copy.modified_at, copy.accessed_at, copy.created_at = now.modified_at, now.accessed_at, now.created_at
        if copy.location is Location.COMPLETED:
            # It is one file, which is listed as the completed copy.
            local = catalog.metadata.get_file_record(Place(Location.LOCAL, host(), copy.path))
            if local is not None:
                local.status = FileStatus.DELETED


def freed_copy(free: FreeRecord, catalog: Catalog) -> FileRecord | None:
    """The copy that `free` removed."""
    found = catalog.metadata.files_of(free, Role.COMPLETED)
    return next((copy for copy, _ in found if copy.path == free.target_path), None)
