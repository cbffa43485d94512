"""Finish or undo one interrupted operation: on the host that it ran on, or for a host that is down.

A complete archive is never removed here: it is proven and recorded, or reported and left.
"""

import os
from enum import Enum

from mgmt.archive import remove_partial
from mgmt.catalog import (
    ClassRecord,
    DeleteRecord,
    DownloadRecord,
    FileStatus,
    FreeRecord,
    LockRecord,
    OperationRecord,
    Role,
    Status,
    TagRecord,
    UndeleteRecord,
    UndoRecord,
    UploadRecord,
)
from mgmt.errors import IntegrityError, MgmtError, NotReadyError
from mgmt.services.steps.adoption import ARCHIVE_GONE, adopt_left, is_still_stored, proven_record
from mgmt.services.steps.archived import record_original
from mgmt.services.steps.cleanup import unless_refused
from mgmt.services.steps.context import Context
from mgmt.services.steps.dead_host import finish_elsewhere, give_up_elsewhere, is_out_of_reach
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import look_up
from mgmt.services.steps.local_copy import is_kept, remove_copy
from mgmt.services.steps.local_files import host, is_in, token
from mgmt.services.steps.movable import completed_dir
from mgmt.services.steps.move_original import PROVEN, announce_again, finish_upload, same_as_archived
from mgmt.services.steps.orphans import abort_orphans, listed, may_be_completing
from mgmt.services.steps.plan import UploadOptions, asks_the_same, key_of
from mgmt.services.steps.purge import PURGE, finish_purge
from mgmt.services.steps.removal import remove_index, remove_remains
from mgmt.services.steps.resolve import archive_id, note_stored, recorded
from mgmt.services.steps.restored import freed_copy, holds, is_original, note_copied_back, note_returned
from mgmt.services.steps.set_aside import finish_free
from mgmt.services.steps.versions import is_of
from mgmt.storage import ObjectStore


class SupersededError(MgmtError):
    """An interrupted run wanted another key or store: its operation ends here, and this run gets one of its own."""


class Left(Enum):
    """What an interrupted upload, whose archive is proven, has left to do."""

    MOVED = "nothing: its original has moved"
    REPLACED = "nothing, but another file has the name of its original by now"
    ASKED_OTHERWISE = "nothing, as another store or key is asked for, or something else to be kept"
    TO_MOVE = "to move its original, if that is asked for"


def finish_or_undo(record: OperationRecord, context: Context) -> str:
    """Finish what can be finished, undo the rest; return what was done."""
    match record:
        case UploadRecord() if record.stage == PROVEN:
            if _must_not_move(record, context):
                remove_copy(record)
                record.status, record.error_message = Status.CANCELLED, ARCHIVE_GONE
                return f"undone: {ARCHIVE_GONE}"
            finish_upload(record, context.catalog)
            return "finished: the archive was proven" + (", the original is moved" if record.completed_dir_path else "")
        case UploadRecord():
            return _finish_or_undo_upload(record, context)
        case DownloadRecord():
            if record.local_path is not None:
                remove_partial(record.local_path, token(record.operation_id))
        case DeleteRecord():
            return _finish_delete(record, context)
        case FreeRecord():
            if finish_free(record, context):
                return "finished: the copy is removed"
        case UndoRecord():
            return _settle_undo(record, context)
        case ClassRecord() | TagRecord():
            return _settle_stored(record, context)
        case UndeleteRecord():
            return _finish_undelete(record, context)
        case LockRecord():
            return _settle_lock(record, context)
    record.status = Status.CANCELLED
    record.error_message = "interrupted, and undone by recover"
    return "undone"


def _settle_undo(record: UndoRecord, context: Context) -> str:
    """Record what an interrupted undo has moved or restored; the same command finishes the rest."""
    undone, catalog, progress = (
        context.catalog.metadata.require_operation(record.undo_of),
        context.catalog,
        context.progress,
    )
    match undone:
        case UploadRecord() if undone.completed_dir_path is not None:
            back = os.path.lexists(str(undone.target_path)) and not os.path.lexists(undone.completed_dir_path)
            if back and is_original(str(undone.target_path), undone, progress):
                note_returned(undone, catalog)
        case FreeRecord() if (copy := freed_copy(undone, catalog)) is not None:
            if os.path.lexists(copy.path) and holds(copy.path, copy.digest, copy.kept, progress):
                note_copied_back(copy, catalog)
    record.status, record.error_message = Status.CANCELLED, f"interrupted: mgmt undo {record.undo_of} finishes it"
    return f"left as it is: mgmt undo {record.undo_of} finishes it"


def _settle_stored(record: ClassRecord | TagRecord, context: Context) -> str:
    """Finish what an operation was doing with an archive in its store; nothing of it is on a disk."""
    from mgmt.services.steps import class_change, tagging  # an upload has no need of prices

    if isinstance(record, ClassRecord):
        return class_change.settle(record, context)
    return tagging.settle(record, context)


def _must_not_move(record: UploadRecord, context: Context) -> bool:
    """Whether the original of a proven upload has yet to move, and its archive was removed since it was proven."""
    if record.completed_dir_path is None or not os.path.lexists(str(record.target_path)):
        return False
    if same_as_archived(record.completed_dir_path, record, moved=True):
        return False
    return not is_still_stored(record, context.open_store(record.store), context.catalog)


def finish_or_undo_elsewhere(record: OperationRecord, context: Context) -> str:
    """As `finish_or_undo`, for an operation of another host: nothing on a disk is looked at, nor touched."""
    record.details = {**record.details, "recovered_on": host()}
    match record:
        case UploadRecord() if record.stage == PROVEN:
            return finish_elsewhere(record, context.catalog)
        case UploadRecord() if not is_out_of_reach(record.store):
            left = _settle_in_store(record, context)
            if record.stage == PROVEN:
                return finish_elsewhere(record, context.catalog)
            return give_up_elsewhere(record, left)
        case DeleteRecord() if not is_out_of_reach(record.target_path):
            return _finish_delete(record, context)
        case ClassRecord() | TagRecord():
            return _settle_stored(record, context)
        case UndeleteRecord() if not is_out_of_reach(record.target_path):
            return _finish_undelete(record, context)
        case LockRecord():
            return _settle_lock(record, context)
    return give_up_elsewhere(record)


def resume_proven(
    record: UploadRecord, options: UploadOptions, store: ObjectStore, folder: int, context: Context
) -> bool:
    """Let an interrupted, proven upload end as is asked now; return whether another one has to follow.

    Raises SupersededError when its archive was deleted before its original has moved.
    """
    target = str(record.target_path)
    match what_is_left(record, options, store, folder):
        case Left.MOVED:
            return False
        case Left.REPLACED:
            return True
        case _ if not is_still_stored(record, context.open_store(record.store), context.catalog):
            remove_copy(record)
            raise SupersededError(ARCHIVE_GONE)
        case Left.ASKED_OTHERWISE:
            announce_again(record, None)
            return True
    announce_again(record, None if options.keep else completed_dir(target, options.completed_dir, folder))
    return False


def what_is_left(record: UploadRecord, options: UploadOptions, store: ObjectStore, folder: int) -> Left:
    """What an interrupted, proven upload has yet to do, if `options` are asked for now; changes nothing."""
    target, moved_to = str(record.target_path), record.completed_dir_path
    if not is_in(folder, target):
        return Left.MOVED
    if moved_to is not None and same_as_archived(moved_to, record, moved=True):
        return Left.REPLACED
    wanted = (store.url, key_of(target, options))
    if (record.store, record.requested_key or record.s3_object_key) != wanted or not asks_the_same(options, record):
        return Left.ASKED_OTHERWISE
    if options.keep_archive is not None and not is_kept(record):  # it was removed, and then mgmt was killed again
        return Left.ASKED_OTHERWISE
    return Left.TO_MOVE


def _finish_or_undo_upload(record: UploadRecord, context: Context) -> str:
    """Finish an upload whose archive is complete; of any other, remove what it left. The original stays."""
    left = _settle_in_store(record, context)
    if record.stage == PROVEN and record.source_state is not None:
        if same_as_archived(str(record.target_path), record):
            record_original(record, context.catalog)
        finish_upload(record, context.catalog)
        return "finished: the archive was complete, and is proven" + (
            ", the original is moved" if record.completed_dir_path else ""
        )
    remove_copy(record)
    if record.stage == PROVEN:
        record.status = Status.PARTIAL
        record.error_message = f"interrupted: its archive is proven and recorded as {record.s3_object_key}"
        return f"its archive was complete: it is proven and recorded; {record.target_path} was not looked at"
    record.status = Status.CANCELLED
    record.error_message = f"interrupted, and undone by recover{left and f'; {left}'}"
    return f"undone{left and f'; {left}'}"


def _settle_in_store(record: UploadRecord, context: Context) -> str:
    """Record the archive of `record` if it is complete (stage `proven`), else remove its parts and its index.

    Returns what stays in the store all the same, and why.
    """
    if record.store is None or record.s3_object_key is None:
        return ""
    catalog, store, key = context.catalog, context.open_store(record.store), record.s3_object_key
    completing = may_be_completing(record, listed(store, key))
    if record.upload_id is not None:
        with unless_refused("what was sent", context.progress):
            store.abort(key, record.upload_id)
            record.upload_id = record.upload_id if completing else None
    else:
        abort_orphans(store, key, catalog)
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION) == archive_id(record):
        try:
            archive = proven_record(store, stored, catalog) or adopt_left(record, stored, store, context)
        except (IntegrityError, NotReadyError) as exc:
            return f"{store.location(key)} stays, as it is complete but not proven: {exc.message}"
        with catalog.transaction():
            catalog.journal.link(record, archive, Role.ARCHIVE)
            record.stage, record.proof, record.result_path = PROVEN, archive.proof, store.location(key)
            catalog.journal.checkpoint()
    elif completing:
        return "the store may still be completing its archive, so its index stays for an hour"
    elif record.index_key is not None:
        remove_index(store, key, record.index_key, archive_id(record))
    return ""


def _finish_undelete(record: UndeleteRecord, context: Context) -> str:
    """If the archive is back, finish; else hide its index again, which an interrupted one may have brought back."""
    for archive, role in context.catalog.metadata.files_of(record):
        if role != Role.ARCHIVE or archive.s3_object_key is None:
            continue
        store = context.open_store(archive.store)
        stored = look_up(store, archive.s3_object_key)
        if stored is not None and is_of(archive, stored):
            archive.status = FileStatus.COMPLETED
            note_stored(archive, stored)
            return "finished: the archive is back"
        remove_remains(store, archive)
    record.status = Status.CANCELLED
    record.error_message = "interrupted before the archive was back"
    return "undone: the archive is still deleted"


def _settle_lock(record: LockRecord, context: Context) -> str:
    """Record the lock that the archive has now: an interrupted command may have set it, or that of the index only."""
    for archive, role in context.catalog.metadata.files_of(record):
        stored = (
            look_up(context.open_store(archive.store), str(archive.s3_object_key)) if role == Role.ARCHIVE else None
        )
        if stored is not None and is_of(archive, stored):
            note_stored(archive, stored)
    record.status, record.error_message = Status.CANCELLED, "interrupted: the same mgmt lock finishes it"
    return "left as it is: the same mgmt lock finishes it"


def _finish_delete(record: DeleteRecord, context: Context) -> str:
    """If the object is gone, finish the deletion, and a purge; if it still exists, nothing was deleted.

    Raises what the store raises if versions are left that were to be purged.
    """
    for archive, role in context.catalog.metadata.files_of(record):
        if role != Role.ARCHIVE or archive.s3_object_key is None:
            continue
        if remove_remains(context.open_store(archive.store), archive):
            archive.status = FileStatus.DELETED
            context.catalog.journal.checkpoint()
            if record.details.get(PURGE, record.command_args.get(PURGE)):
                finish_purge(record, recorded(archive, context))
                return "finished: the archive and all its versions are deleted"
            return "finished: the archive is deleted"
    record.status = Status.CANCELLED
    record.error_message = "interrupted before anything was deleted"
    return "undone: nothing was deleted"
