"""Copies in completed folders that have no record, as after a restore of an older catalog or a lost commit."""

import os
import re
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mgmt.catalog import Catalog, FileRecord, FileStatus, FreeRecord, Location, Place, UploadRecord
from mgmt.errors import MgmtError
from mgmt.paths import held_folder
from mgmt.progress import Progress
from mgmt.services.steps.local_files import describe, host
from mgmt.services.steps.mirror_files import is_mirror

if TYPE_CHECKING:
    from mgmt.archive import Hashed

_SET_ASIDE = re.compile(r"\.mgmt-[0-9a-f]{12}\.free")


def unnamed(catalog: Catalog) -> list[str]:
    """The paths in the known completed folders of this machine that no record names.

    What a running upload is moving there, and what a recorded removal has set aside, is not listed.
    """
    running = [each for each in catalog.journal.running() if each.host == host()]
    own = {each.completed_dir_path for each in running if isinstance(each, UploadRecord)}
    removals = [*catalog.metadata.unfinished_removals(host()), *running]
    own |= {each.result_path for each in removals if isinstance(each, FreeRecord)}
    folders = {os.path.dirname(path) for path in own if path} | set(catalog.metadata.completed_folders(host()))
    found = [path for folder in sorted(folders) for path in _listed(folder)]
    own |= folders
    return [path for path in found if path not in own and not is_mirror(path) and not _is_recorded(path, catalog)]


def was_set_aside(path: str) -> bool:
    """Whether `path` has the hidden name that a removal gives to a copy."""
    return _SET_ASIDE.fullmatch(os.path.basename(path)) is not None


def record_found(path: str, catalog: Catalog, progress: Progress) -> FileRecord | None:
    """Record what is at `path` as a completed copy if a stored archive holds it; return that archive.

    It is read only if an archive has its size. The archive is not proven here: every removal does that itself. What a
    removal has set aside is compared but not recorded, because nobody knows it by that name. Raises SourceChangedError,
    or RefusedError where a symbolic link has replaced its folder.
    """
    # Not at the top: doctor imports this module, and checks whether the archive package can be loaded at all.
    from mgmt.archive import Tree, hash_tree, look_again, survey

    with ExitStack() as stack:
        folder = stack.enter_context(held_folder(os.path.dirname(path)))
        tree = Tree(path, os.path.basename(path), folder=folder)
        if not catalog.metadata.has_archive_of(survey(tree).size):
            return None
        progress.start(f"compare {tree.name}")
        stack.callback(progress.stop)
        seen = hash_tree(tree, progress, owners=True, xattrs=True)
        look_again(tree, seen)
        archive, kept = _archive_of(seen, catalog)
        if archive is None or was_set_aside(path):
            return archive
        copy = describe(path, Location.COMPLETED, FileStatus.COMPLETED, folder)
    copy.digest, copy.kept, copy.checksum = seen.digest, kept, seen.file_sha256 or seen.digest
    copy.size = copy.original_size = seen.original_size
    copy.operation_id = archive.operation_id
    catalog.metadata.save_file_record(copy)
    return archive


def _archive_of(seen: "Hashed", catalog: Catalog) -> tuple[FileRecord | None, str | None]:
    """An archive that holds what was `seen`, and what it keeps of it; the options of its upload are unknown."""
    from mgmt.archive import covers

    if not seen.skipped:
        for archive in catalog.metadata.archives_of(seen.digest):
            if archive.kept is None:
                return archive, None
            kinds = tuple(token.partition(":")[0] + ":" for token in archive.kept.split())
            kept = " ".join(token for token in seen.kept.split() if token.startswith(kinds))
            if covers(archive.kept, kept):
                return archive, kept
    return None, None


def _listed(folder: str) -> list[str]:
    try:
        with held_folder(folder) as descriptor:
            modes = {name: os.lstat(name, dir_fd=descriptor).st_mode for name in sorted(os.listdir(descriptor))}
    except (OSError, MgmtError):  # gone, not readable, or a link by now
        return []
    ours = [name for name, mode in modes.items() if stat.S_ISREG(mode) or stat.S_ISDIR(mode)]
    # Hidden names are the system's, except what a removal has set aside.
    return [os.path.join(folder, name) for name in ours if not name.startswith(".") or was_set_aside(name)]


def _is_recorded(path: str, catalog: Catalog) -> bool:
    for location in (Location.COMPLETED, Location.LOCAL):
        record = catalog.metadata.get_file_record(Place(location, host(), path))
        if record is None or record.status is FileStatus.DELETED:
            continue
        # The record of an original whose upload failed does not tell what it holds.
        if location is Location.COMPLETED or record.status is FileStatus.COMPLETED:
            return True
    return False
