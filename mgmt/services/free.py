"""Free the space of copies in completed/, after proving an archive of the same content again."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from mgmt.archive import Hashed, Tree, look_again, move
from mgmt.catalog import Catalog, FileRecord, FileStatus, FreeRecord, Location, Place, Role, UploadRecord
from mgmt.catalog.files.verdicts import shared
from mgmt.errors import IntegrityError, MgmtError, NotFoundError, RefusedError
from mgmt.paths import held_parent, mounted_in
from mgmt.services.steps.altered import differs, fault_of, note_altered, note_faulty
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Copies, Proven, content_claim, is_altered, is_unarchived
from mgmt.services.steps.local_files import host, paths_meant
from mgmt.services.steps.movable import refuse_unmovable
from mgmt.services.steps.resolve import AmbiguousNameError, find_archive
from mgmt.services.steps.set_aside import SET_ASIDE, finish_free, hidden_name, paths_of_removals, resume_earlier
from mgmt.signals import finish_first
from mgmt.words import shell_word

Compare = Callable[[FileRecord, int], tuple[Hashed, Proven]]
"""Compares a copy, in its open folder, with what was recorded, and proves an archive that holds all of it."""

_LEFT = (FileStatus.COMPLETED, FileStatus.FAILED)


def completed_copies(catalog: Catalog, older_than: timedelta | None) -> list[FileRecord]:
    """The copies in completed/ on this machine that were archived longer ago than `older_than`."""
    now = datetime.now(UTC)
    begun = paths_of_removals(catalog)
    return [
        each
        for each in _copies(catalog)
        if (older_than is None or now - each.recorded_at > older_than)
        # A copy that was removed by hand, or is on a disk that is not mounted, takes no space here.
        and (os.path.lexists(each.path) or each.path in begun)
    ]


def find_copy(name: str, context: Context) -> FileRecord:
    """The completed copy that `name` means: a path, the id of its upload, or a name of its archive.

    Raises NotFoundError, or AmbiguousNameError when there are several copies of what that archive holds.
    """
    catalog = context.catalog
    for path in sorted(paths_meant(name)):
        try:
            copy = catalog.metadata.require_file_record(Place(Location.COMPLETED, host(), path))
        except NotFoundError:
            continue
        if copy.status in _LEFT:
            return copy
        raise NotFoundError(f"{path} was removed already", next_step=f"mgmt log --target {shell_word(path)}")
    if (upload := catalog.metadata.get_operation(name)) is not None and isinstance(upload, UploadRecord):
        return _own_copy(upload, catalog)
    archive = find_archive(name, context, strictly=True)
    digest = archive.record.digest if archive.record is not None else None
    copies = [each for each in _copies(catalog) if digest is not None and each.digest == digest]
    if len(copies) > 1:
        paths = ", ".join(sorted(each.path for each in copies)[:10])
        raise AmbiguousNameError(f"{name!r} has {len(copies)} copies: {paths}", next_step="use one of these paths")
    if not copies:
        raise NotFoundError(
            f"{name!r} has no copy in completed/ on this machine", next_step="mgmt ls --location completed"
        )
    return copies[0]


def meant_copies(names: Sequence[str], context: Context) -> list[str]:
    """The copies that these names mean now: their paths, or the ids of their uploads.

    A name that means none yet is left as it is.
    """
    found: list[str] = []
    for name in names:
        if isinstance(context.catalog.metadata.get_operation(name), UploadRecord):
            found.append(name)
            continue
        try:
            found.append(find_copy(name, context).path)
        except MgmtError:
            found.append(name)
    return list(dict.fromkeys(found))


def _own_copy(upload: UploadRecord, catalog: Catalog) -> FileRecord:
    """The completed copy of the original of `upload`, not one of the same content. Raises NotFoundError."""
    made_by = (upload.operation_id, upload.details.get("done_by"))
    for copy, _ in catalog.metadata.files_of(upload, Role.COMPLETED):
        if copy.operation_id in made_by and copy.host == host() and copy.status in _LEFT:
            return copy
    raise NotFoundError(
        f"upload {upload.operation_id} has left no copy in completed/ on this machine",
        next_step="mgmt ls --location completed",
    )


def free(name: str, context: Context) -> FreeRecord:
    """Remove one completed copy; `record.details["freed"]` is its size in bytes.

    Raises RefusedError when the copy is not what was archived or no archive holds what it holds, and IntegrityError
    when the archive cannot be proven: the copy stays then.
    """
    copy = find_copy(name, context)
    _refuse_missing(copy, context.catalog)
    if copy.digest is None:
        raise _without_digest(copy)

    copies = Copies(context)

    def compare(copy: FileRecord, folder: int) -> tuple[Hashed, Proven]:
        seen = _compared(copies, copy, folder)
        return seen, _proven(copies, seen, copy.path)

    return remove_copy(copy, context, digest=copy.digest, compare=compare, copies=copies)


def preview(name: str, context: Context) -> FileRecord:
    """The copy that `free` would remove, refusals included as far as the catalog and the stat of the copy show them.

    Reads no content, asks no store, and changes nothing.
    """
    copy, catalog = find_copy(name, context), context.catalog
    if not os.path.lexists(copy.path):
        if copy.path in paths_of_removals(catalog):
            return copy
        raise _missing(copy)
    if copy.digest is None:
        raise _without_digest(copy)
    if fault_of(copy) is not None or differs(copy, catalog):
        raise is_altered(copy.path)
    archives = catalog.metadata.archives_of(copy.digest)
    verdicts = shared(archives, catalog.verdicts.of([each.id for each in archives]))
    faults = [found for found in verdicts.values() if found.problem is not None and not found.restored]
    if not archives:
        raise is_unarchived(copy.path)
    if len(faults) == len(archives):
        url = f"{archives[0].store}/{archives[0].s3_object_key}"
        message = verdicts[archives[0].id].message or f"{url} is damaged"
        raise IntegrityError(message, next_step=f"mgmt verify {shell_word(url)}")
    return copy


def remove_copy(
    copy: FileRecord, context: Context, *, digest: str, compare: Compare, copies: Copies | None = None
) -> FreeRecord:
    """Remove one copy on this machine as `free` does, once `compare` has proven the content with this `digest`.

    What `compare` has found wrong with `copies`, the record says.
    """
    record = FreeRecord(
        target_path=copy.path,
        target_name=copy.name,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.retry_of,
    )
    try:
        with context.catalog.journal.record(record, claim=content_claim(digest)) as record:
            if not finish_free(record, context) and not resume_earlier(record, copy, context):

                def noting(copy: FileRecord, folder: int) -> tuple[Hashed, Proven]:
                    try:
                        return compare(copy, folder)
                    finally:
                        if copies is not None:
                            note_altered(record, copies.altered, context.catalog)
                            note_faulty(record, copies.faulty, context.catalog)

                _prove_and_remove(record, copy, noting, context)
    finally:
        context.progress.stop()
    return record


def _prove_and_remove(record: FreeRecord, copy: FileRecord, compare: Compare, context: Context) -> None:
    journal = context.catalog.journal
    with held_parent(copy.path) as (path, folder):
        tree = Tree(path, copy.name, folder=folder)
        _refuse_mounted(tree)
        refuse_unmovable(path, os.path.dirname(path), folder, what="removed", instead="")
        journal.link(record, copy, Role.COMPLETED)
        journal.checkpoint()
        seen, proven = compare(copy, folder)
        if proven.archive.record is not None:
            journal.link(record, proven.archive.record, Role.ARCHIVE)
        facts = {"freed": seen.original_size, "proof": proven.proof, "state": seen.source_state}
        record.details = {**record.details, **facts}
        record.result_path, record.stage = hidden_name(record, path), SET_ASIDE
        journal.checkpoint()
        finish_first()
        _refuse_changed(tree, seen, copy.path)
        move(path, record.result_path, source_folder=folder, destination_folder=folder)
        if not finish_free(record, context, folder):
            raise MgmtError(f"{record.result_path}, which was {copy.path}, was moved away by another process just now")


def _compared(copies: Copies, copy: FileRecord, folder: int) -> Hashed:
    """`Copies.hash`, whose error for a folder names the change that needs no other archive."""
    try:
        return copies.hash(copy, folder)
    except RefusedError as exc:
        if exc.next_step is not None and copy.is_directory:
            exc.next_step += (
                "\n# or, if only the time of a folder changed: touch -d @SECONDS FOLDER, as in ls --members"
            )
        raise


def _proven(copies: Copies, seen: Hashed, path: str) -> Proven:
    """`Copies.archive_of`, whose error names the command that explains a missing or damaged archive."""
    try:
        return copies.archive_of(seen, path)
    except IntegrityError as exc:
        first = next(iter(copies.context.catalog.metadata.archives_of(seen.digest)), None)
        if exc.next_step is None and first is not None:
            exc.next_step = f"mgmt verify {shell_word(f'{first.store}/{first.s3_object_key}')}"
        raise


def _copies(catalog: Catalog) -> list[FileRecord]:
    found = catalog.metadata.list_files(None, Location.COMPLETED, None, host=host(), sort="recorded", limit=None)
    return [each for each in found if each.status in _LEFT]


def _refuse_missing(copy: FileRecord, catalog: Catalog) -> None:
    """Raise NotFoundError when the copy was removed by hand; its record says so then."""
    if os.path.lexists(copy.path) or copy.path in paths_of_removals(catalog):
        return
    if os.path.isdir(os.path.dirname(copy.path)):
        copy.status = FileStatus.DELETED
        catalog.journal.checkpoint()
    raise _missing(copy)


def _missing(copy: FileRecord) -> NotFoundError:
    return NotFoundError(f"{copy.path} is not there any more", next_step="mgmt ls --location completed")


def _without_digest(copy: FileRecord) -> RefusedError:
    return RefusedError(f"{copy.path}: its digest was never recorded, so it cannot be compared")


def _refuse_mounted(tree: Tree) -> None:
    """Raise RefusedError for a mount below the copy, which could not be removed, before anything is removed."""
    for path in mounted_in(tree.root):
        raise RefusedError(
            f"{tree.root} stays: another file system is mounted at {path}", next_step=f"umount {shell_word(path)}"
        )


def _refuse_changed(tree: Tree, seen: Hashed, path: str) -> None:
    try:
        look_again(tree, seen)
    except MgmtError as exc:
        raise RefusedError(f"{path} stays: it changed while it was compared", next_step=exc.next_step) from exc
