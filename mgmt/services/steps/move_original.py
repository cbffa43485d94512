"""Move an original to completed/ once its archive is proven, and finish a move that was interrupted."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

from mgmt.archive import Tree, move, same_state, survey
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, Role, Status, UploadRecord
from mgmt.errors import (
    ConflictError,
    IntegrityError,
    MgmtError,
    NotFoundError,
    RefusedError,
    SourceChangedError,
)
from mgmt.paths import held_folder, split_name
from mgmt.services.steps.local_copy import GZIP, is_published, publish_copy
from mgmt.services.steps.local_files import describe, host, is_in
from mgmt.signals import finish_first
from mgmt.words import shell_word

SENDING = "sending"
"""The stage of an upload whose parts are being sent."""

SENT = "sent"
"""The stage of an upload that has sent everything: its facts are recorded, and the object may appear at any moment."""

NAME_MAX = 255
"""Bytes of a name, on all file systems that are common on Linux."""

PROVEN = "proven"
"""The stage of an upload whose archive is proven and recorded: only the announced move, if any, is left."""


class _ImmovableError(Exception):
    """The system refuses to move an original whose archive is proven and recorded."""


def same_as_archived(
    path: str, record: UploadRecord, *, moved: bool = False, renamed: bool = False, folder: int | None = None
) -> bool:
    """Whether the stat of what is at `path`, in the open `folder` if given, is still that of what was archived.

    A rename changes the ctime of what is renamed, so that of a `moved` original is not compared; where only mgmt can
    have `renamed` it, neither are devices and inodes (see `same_state`).
    """
    try:
        now = survey(Tree(path, str(record.target_name), folder=folder))
    except (NotFoundError, SourceChangedError):
        return False
    same = same_state(record.source_state, now.source_state, renamed=renamed)
    return same and (moved or now.root_ctime_ns == record.root_ctime_ns)


def announce(record: UploadRecord, folder: str) -> None:
    """Record where the original will be: under a free name in `folder`, which need not exist."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    record.completed_dir_path = completed_path(folder, str(record.target_name), moment)


def announce_again(record: UploadRecord, folder: str | None) -> None:
    """Let an interrupted, proven upload end as is asked now: with a move to `folder`, or without one."""
    if folder is None:
        record.completed_dir_path = None
    elif record.completed_dir_path is None and not record.skipped_count:
        announce(record, folder)


def finish_upload(record: UploadRecord, catalog: Catalog, folder: int | None = None) -> None:
    """End an upload whose archive is proven: make the announced moves, if any, and record them in one transaction.

    `folder` is the open folder of the original. What an interrupted run has already done is not done again. If the
    system refuses to move the original, it stays, and the operation ends as partial. Raises SourceChangedError when the
    original is no longer what was archived, in which case it stays; IntegrityError when it is at neither place;
    RefusedError when a symbolic link has replaced a folder on the way.
    """
    finish_first()
    publish_copy(record)
    with ExitStack() as stack:
        if record.completed_dir_path is not None and folder is None:
            with suppress(NotFoundError):
                folder = stack.enter_context(held_folder(os.path.dirname(str(record.target_path))))
        completed, stays = None, None
        try:
            completed = _move(record, catalog, folder)
        except _ImmovableError as exc:
            record.completed_dir_path = None
            stays = f"archived and proven, but the original stays where it is: {exc}"
        is_free = folder is None or not is_in(folder, str(record.target_path))  # else another file has the name by now
    with catalog.transaction():
        _note_former_copy(record, catalog)
        if completed is not None:
            _record_completed(record, completed, is_free, catalog)
        if record.compressed_file_path is not None and is_published(record):
            _record_kept(record, record.compressed_file_path, catalog)
        if record.skipped_count:
            left_out = f"{record.skipped_count} left out, so the original stays where it is"
            catalog.journal.close(record, Status.PARTIAL, left_out)
        else:
            catalog.journal.close(record, Status.SUCCESS if stays is None else Status.PARTIAL, stays)


def _move(record: UploadRecord, catalog: Catalog, folder: int | None) -> FileRecord | None:
    """Return what is in completed/ then; None if no move is announced."""
    source = str(record.target_path)
    while (destination := record.completed_dir_path) is not None:
        is_gone = folder is None or not is_in(folder, source)
        with suppress(NotFoundError), held_folder(os.path.dirname(destination)) as completed:
            if found := _moved(record, destination, completed, renamed=is_gone):
                return found
        if folder is None or is_gone:
            raise lost(record)
        if not same_as_archived(source, record, folder=folder):
            raise changed(record)
        with _folder_to_fill(destination) as completed:
            catalog.journal.confirm()
            try:
                move(source, destination, source_folder=folder, destination_folder=completed)
            except ConflictError:  # the name was taken between the look and the move
                announce(record, os.path.dirname(destination))
                catalog.journal.checkpoint()
                continue
            except MgmtError as exc:
                if is_in(folder, source):
                    raise _ImmovableError(exc.message) from exc
            if found := _moved(record, destination, completed, renamed=True):
                return found
            # Another file took the name between the look and the move: it is not what was archived.
            move(destination, source, source_folder=completed, destination_folder=folder)
            raise changed(record)
    return None


@contextmanager
def _folder_to_fill(destination: str) -> Iterator[int]:
    """The folder that will hold `destination`, made if it is missing. Raises _ImmovableError when it cannot be."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(held_folder(os.path.dirname(destination), make=True))
        except RefusedError:
            raise
        except MgmtError as exc:
            raise _ImmovableError(exc.message) from exc
        yield folder


def changed(record: UploadRecord) -> SourceChangedError:
    """The error for an original that is no longer what was archived."""
    return SourceChangedError(
        f"{record.target_path} changed after it was read, so it stays where it is; "
        f"what was read is archived as {record.s3_object_key}",
        next_step=f"mgmt upload --on-conflict rename {shell_word(str(record.target_path))}",
    )


def lost(record: UploadRecord) -> IntegrityError:
    """The error for an original that is at neither of its places."""
    return IntegrityError(
        f"{record.target_path} is neither where it was nor at {record.completed_dir_path}; "
        f"its archive is {record.s3_object_key}",
        next_step=f"mgmt download {shell_word(f'{record.store}/{record.s3_object_key}')}",
    )


def has_moved(record: UploadRecord) -> bool:
    """Whether the original, which is not where it was, is where an interrupted upload was going to move it.

    Raises RefusedError when a symbolic link has replaced a folder on the way.
    """
    destination = str(record.completed_dir_path)
    with suppress(NotFoundError), held_folder(os.path.dirname(destination)) as completed:
        return same_as_archived(destination, record, moved=True, renamed=True, folder=completed)
    return False


def _moved(record: UploadRecord, destination: str, completed: int, *, renamed: bool) -> FileRecord | None:
    """The original at its `destination` in the open folder `completed`; None when it is not there."""
    if not same_as_archived(destination, record, moved=True, renamed=renamed, folder=completed):
        return None
    return describe(destination, Location.COMPLETED, FileStatus.COMPLETED, completed)


def _record_completed(record: UploadRecord, completed: FileRecord, is_free: bool, catalog: Catalog) -> None:
    """Record the completed copy, and that the original is gone if its name `is_free`."""
    for original, _ in catalog.metadata.files_of(record, Role.SOURCE):
        if is_free:
            original.status = FileStatus.DELETED
        completed.size = original.size
    completed.digest, completed.kept, completed.checksum = record.digest, record.kept, record.checksum_original
    completed.original_size, completed.operation_id = record.original_size, record.operation_id
    catalog.journal.link(record, catalog.metadata.save_file_record(completed), Role.COMPLETED)


def _note_former_copy(record: UploadRecord, catalog: Catalog) -> None:
    """Record what the upload of a file in a completed folder makes of it: a copy of the new content, or moved."""
    path = str(record.target_path)
    copy = catalog.metadata.get_file_record(Place(Location.COMPLETED, host(), path))
    if copy is None:
        if not os.path.lexists(path) or os.path.dirname(path) not in catalog.metadata.completed_folders(host()):
            return
        copy = describe(path, Location.COMPLETED, FileStatus.COMPLETED)
    if not os.path.lexists(path):
        copy.status = FileStatus.DELETED
    elif not record.skipped_count:
        for original, _ in catalog.metadata.files_of(record, Role.SOURCE):
            original.status = FileStatus.DELETED  # it is one file, which is listed as the completed copy
            copy.size = original.size
        copy.digest, copy.kept, copy.checksum = record.digest, record.kept, record.checksum_original
        copy.original_size, copy.operation_id = record.original_size, record.operation_id
        copy.status, copy.error_message = FileStatus.COMPLETED, None
        catalog.journal.link(record, catalog.metadata.save_file_record(copy), Role.COMPLETED)


def _record_kept(record: UploadRecord, path: str, catalog: Catalog) -> None:
    """Record the tar.gz that was kept on this machine."""
    kept = describe(path, Location.LOCAL, FileStatus.COMPLETED)
    kept.mime_type, kept.object_checksum = GZIP, record.checksum_compressed
    kept.digest, kept.kept, kept.checksum = record.digest, record.kept, record.checksum_compressed
    kept.original_size, kept.operation_id = record.original_size, record.operation_id
    catalog.journal.link(record, catalog.metadata.save_file_record(kept), Role.RESULT)


def completed_path(folder: str, name: str, moment: str, *, taken: bool = False) -> str:
    """Where the original `name` is moved to: under its own name in `folder` if that is free, else with the `moment`.

    It is not free if it is `taken`, whatever is there now.
    """
    path = os.path.join(folder, name)
    if not taken and not os.path.lexists(path):
        return path
    stem, suffix = split_name(name)
    end = f"-{moment}{suffix}"
    while stem and len(os.fsencode(stem + end)) > NAME_MAX:
        stem = stem[:-1]
    return os.path.join(folder, stem + end)
