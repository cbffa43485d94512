"""Moving an original to completed/ once it is proven safe, and settling a move that was interrupted."""

import os
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

from mgmt.archive import Tree, move, survey
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, Role, Status, UploadRecord
from mgmt.errors import ConflictError, IntegrityError, NotFoundError, SourceChangedError
from mgmt.paths import held_folder
from mgmt.services.steps.local_copy import GZIP, publish_copy
from mgmt.services.steps.local_files import describe, host
from mgmt.signals import finish_first

PROVEN = "proven"
"""The stage of an upload whose archive is proven and recorded: only the move, if one is announced, is left."""


def same_as_archived(path: str, record: UploadRecord, *, moved: bool = False, folder: int | None = None) -> bool:
    """Whether what is at `path`, in the open `folder` if that is given, is by its stat alone still what was archived.

    A rename changes the ctime of what is renamed, so that of a `moved` original is not compared.
    """
    try:
        now = survey(Tree(path, str(record.target_name), folder=folder))
    except (NotFoundError, SourceChangedError):
        return False
    return now.source_state == record.source_state and (moved or now.root_ctime_ns == record.root_ctime_ns)


def announce(record: UploadRecord, folder: str) -> None:
    """Say in the record where the original is going to be: a name that is free in `folder`, which need not exist."""
    record.completed_dir_path = _free_name(folder, str(record.target_name))


def announce_again(record: UploadRecord, folder: str | None) -> None:
    """Let a proven upload that was cut off end as it is asked to now: with a move to `folder`, or without one."""
    if folder is None:
        record.completed_dir_path = None
    elif record.completed_dir_path is None and not record.skipped_count:
        announce(record, folder)


def finish_upload(record: UploadRecord, catalog: Catalog, folder: int | None = None) -> None:
    """End an upload whose archive is proven: make the moves that it announced, if any, and record all that at once.

    `folder` is the open folder of the original. What an interrupted run has done of it already is seen, and not done
    again. Raises SourceChangedError when the original is no longer what was archived: it stays then; IntegrityError
    when it is at neither place; RefusedError when a symbolic link has taken the place of a folder on the way.
    """
    finish_first()
    publish_copy(record)
    with ExitStack() as stack:
        if record.completed_dir_path is not None and folder is None:
            with suppress(NotFoundError):
                folder = stack.enter_context(held_folder(os.path.dirname(str(record.target_path))))
        completed = _move(record, catalog, folder)
        is_free = folder is None or not _is_in(folder, str(record.target_path))  # else the name has another file by now
    with catalog.transaction():
        _note_former_copy(record, catalog)
        if completed is not None:
            _record_completed(record, completed, is_free, catalog)
        if record.compressed_file_path is not None and os.path.lexists(record.compressed_file_path):
            _record_kept(record, record.compressed_file_path, catalog)
        if record.skipped_count:
            left_out = f"{record.skipped_count} left out, so the original stays where it is"
            catalog.journal.close(record, Status.PARTIAL, left_out)
        else:
            catalog.journal.close(record, Status.SUCCESS)


def _move(record: UploadRecord, catalog: Catalog, folder: int | None) -> FileRecord | None:
    """Returns what is in completed/ then, unless no move is announced."""
    source = str(record.target_path)
    while (destination := record.completed_dir_path) is not None:
        with suppress(NotFoundError), held_folder(os.path.dirname(destination)) as completed:
            if found := _moved(record, destination, completed):
                return found
        if folder is None or not _is_in(folder, source):
            raise IntegrityError(
                f"{source} is neither where it was nor at {destination}; its archive is {record.s3_object_key}",
                next_step=f"mgmt download {record.s3_object_key}",
            )
        if not same_as_archived(source, record, folder=folder):
            raise _changed(record)
        with held_folder(os.path.dirname(destination), make=True) as completed:
            catalog.journal.confirm()
            try:
                move(source, destination, source_folder=folder, destination_folder=completed)
            except ConflictError:  # somebody took the name between the look and the move
                announce(record, os.path.dirname(destination))
                catalog.journal.checkpoint()
            else:
                if found := _moved(record, destination, completed):
                    return found
                # Between the look and the move another file has taken the name: it is not what was archived.
                move(destination, source, source_folder=completed, destination_folder=folder)
                raise _changed(record)
    return None


def _changed(record: UploadRecord) -> SourceChangedError:
    return SourceChangedError(
        f"{record.target_path} changed after it was read, so it stays where it is; "
        f"what was read is archived as {record.s3_object_key}",
        next_step=f"mgmt upload --on-conflict rename {record.target_path}",
    )


def _moved(record: UploadRecord, destination: str, completed: int) -> FileRecord | None:
    """The original at its `destination` in the open folder `completed`; None when it is not there."""
    if not same_as_archived(destination, record, moved=True, folder=completed):
        return None
    return describe(destination, Location.COMPLETED, FileStatus.COMPLETED, completed)


def _is_in(folder: int, path: str) -> bool:
    try:
        os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _record_completed(record: UploadRecord, completed: FileRecord, is_free: bool, catalog: Catalog) -> None:
    """There is a completed copy now, and, if the name of the original `is_free`, nothing any more where that was."""
    for original, _ in catalog.metadata.files_of(record, Role.SOURCE):
        if is_free:
            original.status = FileStatus.DELETED
        completed.size = original.size
    completed.digest, completed.kept, completed.checksum = record.digest, record.kept, record.checksum_original
    completed.original_size, completed.operation_id = record.original_size, record.operation_id
    catalog.journal.link(record, catalog.metadata.save_file_record(completed), Role.COMPLETED)


def _note_former_copy(record: UploadRecord, catalog: Catalog) -> None:
    """What was uploaded may have been a completed copy that was edited: it is one of other contents now, or moved."""
    try:
        copy = catalog.metadata.require_file_record(Place(Location.COMPLETED, host(), str(record.target_path)))
    except NotFoundError:
        return
    if not os.path.lexists(copy.path):
        copy.status = FileStatus.DELETED
    elif not record.skipped_count:
        copy.digest, copy.kept, copy.checksum = record.digest, record.kept, record.checksum_original
        copy.original_size, copy.operation_id = record.original_size, record.operation_id
        catalog.journal.link(record, copy, Role.COMPLETED)


def _record_kept(record: UploadRecord, path: str, catalog: Catalog) -> None:
    """There is a tar.gz of it on this machine, too."""
    kept = describe(path, Location.LOCAL, FileStatus.COMPLETED)
    kept.mime_type, kept.object_checksum = GZIP, record.checksum_compressed
    kept.digest, kept.kept, kept.checksum = record.digest, record.kept, record.checksum_compressed
    kept.original_size, kept.operation_id = record.original_size, record.operation_id
    catalog.journal.link(record, catalog.metadata.save_file_record(kept), Role.RESULT)


def _free_name(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    if not os.path.lexists(path):
        return path
    stem, suffix = os.path.splitext(name) if not name.startswith(".") else (name, "")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return os.path.join(folder, f"{stem}-{stamp}{suffix}")
