"""Moving an original to completed/ once it is proven safe, and settling a move that was interrupted."""

import os
from datetime import UTC, datetime

from mgmt.archive import Tree, make_folders, move, survey
from mgmt.catalog import Catalog, FileStatus, Location, Role, Status, UploadRecord
from mgmt.errors import ConflictError, IntegrityError, SourceChangedError
from mgmt.services.files import describe
from mgmt.services.local_copy import publish_copy
from mgmt.signals import finish_first

PROVEN = "proven"
"""The stage of an upload whose archive is proven and recorded: only the move, if one is announced, is left."""


def same_as_archived(path: str, record: UploadRecord, *, moved: bool = False) -> bool:
    """Whether what is at `path` is, by its stat alone, still what was archived.

    A rename changes the ctime of what is renamed, so that of a `moved` original is not compared.
    """
    if not os.path.lexists(path):
        return False
    now = survey(Tree(path, str(record.target_name)))
    return now.source_state == record.source_state and (moved or now.root_ctime_ns == record.root_ctime_ns)


def announce(record: UploadRecord, folder: str) -> None:
    """Say in the record where the original is going to be: a name that is free in `folder`."""
    make_folders(folder)
    record.completed_dir_path = _free_name(folder, str(record.target_name))


def announce_again(record: UploadRecord, folder: str | None) -> None:
    """Let a proven upload that was cut off end as it is asked to now: with a move to `folder`, or without one."""
    if folder is None:
        record.completed_dir_path = None
    elif record.completed_dir_path is None and not record.skipped_count:
        announce(record, folder)


def finish_upload(record: UploadRecord, catalog: Catalog) -> None:
    """End an upload whose archive is proven: make the moves that it announced, if any, and record all that at once.

    What an interrupted run has done of it already is seen, and not done again. Raises SourceChangedError when the
    original is no longer what was archived: it stays then; IntegrityError when it is at neither place.
    """
    finish_first()
    publish_copy(record)
    path = _move(record, catalog)
    with catalog.transaction():
        if path is not None:
            _record_completed(record, path, catalog)
        if record.skipped_count:
            left_out = f"{record.skipped_count} left out, so the original stays where it is"
            catalog.journal.close(record, Status.PARTIAL, left_out)
        else:
            catalog.journal.close(record, Status.SUCCESS)


def _move(record: UploadRecord, catalog: Catalog) -> str | None:
    source, destination = str(record.target_path), record.completed_dir_path
    while destination is not None and not same_as_archived(destination, record, moved=True):
        if not os.path.lexists(source):
            raise IntegrityError(
                f"{source} is neither where it was nor at {destination}; its archive is {record.s3_object_key}",
                next_step=f"mgmt download {record.s3_object_key}",
            )
        if not same_as_archived(source, record):
            raise SourceChangedError(
                f"{source} changed after it was read, so it stays where it is; "
                f"what was read is archived as {record.s3_object_key}",
                next_step=f"mgmt upload --on-conflict rename {source}",
            )
        catalog.journal.confirm()
        try:
            move(source, destination)
        except ConflictError:  # somebody took the name between the look and the move
            announce(record, os.path.dirname(destination))
            catalog.journal.checkpoint()
            destination = record.completed_dir_path
    return destination


def _record_completed(record: UploadRecord, path: str, catalog: Catalog) -> None:
    """There is a completed copy now, and nothing any more where the original was."""
    completed = describe(path, Location.COMPLETED, FileStatus.COMPLETED)
    for original, _ in catalog.metadata.files_of(record, Role.SOURCE):
        original.status = FileStatus.DELETED
        completed.size = original.size
    completed.digest, completed.checksum = record.digest, record.checksum_original
    completed.original_size, completed.operation_id = record.original_size, record.operation_id
    catalog.journal.link(record, catalog.metadata.save_file_record(completed), Role.COMPLETED)


def _free_name(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    if not os.path.lexists(path):
        return path
    stem, suffix = os.path.splitext(name) if not name.startswith(".") else (name, "")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return os.path.join(folder, f"{stem}-{stamp}{suffix}")
