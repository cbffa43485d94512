"""Settle what was interrupted and not run again: finish it, or undo it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from mgmt.archive import remove_partial
from mgmt.catalog import (
    Catalog,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    FileStatus,
    FreeRecord,
    OperationRecord,
    RecoverRecord,
    Role,
    Status,
    UploadRecord,
)
from mgmt.errors import CatalogError, ConfigurationError, IntegrityError, MgmtError, NotFoundError, NotReadyError
from mgmt.progress import Progress
from mgmt.services.free import finish_earlier, finish_free
from mgmt.services.steps.adoption import adopt_left, proven_record
from mgmt.services.steps.dead_host import finish_elsewhere, give_up_elsewhere, is_elsewhere, is_out_of_reach, left_there
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import look_up
from mgmt.services.steps.local_copy import remove_copy
from mgmt.services.steps.local_files import host, token
from mgmt.services.steps.move_original import PROVEN, finish_upload
from mgmt.services.steps.orphans import abort_unheard
from mgmt.services.steps.probes import abandoned_probes
from mgmt.services.steps.removal import remove_index, remove_remains
from mgmt.services.steps.resolve import OpenStore, archive_id
from mgmt.services.steps.scratch import remove_abandoned_scratch
from mgmt.services.steps.unrecorded import record_found, unnamed, was_set_aside
from mgmt.signals import may_stop
from mgmt.storage import ObjectStore

_NAMED = 20
"""How many of the things that lie in completed folders, and are in no record, are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of one interrupted operation; in a dry run, what would."""

    type: str = "settled"
    operation_id: str
    operation_type: str
    target: str
    action: str
    status: str
    host: str | None = None
    """Where it ran."""
    heard_at: datetime | None = None
    """When it was last heard of, before it was taken over."""


def recover(
    *, open_store: OpenStore, catalog: Catalog, progress: Progress, dry_run: bool, dead_host: str | None = None
) -> list[Settled]:
    """Settle every operation that a process which is gone left running, and remove uploads that nobody will finish.

    A complete archive is never removed here: it is proven and recorded, or reported and left. Nothing of a living
    process is touched, nor of another host, but for `dead_host`: the caller knows that it is dead, and what it held is
    taken over and settled as far as it can be from here. What cannot be settled now (the store is down) is reported
    with its reason, stays as it is, and can be tried again. Raises CatalogError when what cannot be used is the
    catalog, and NotFoundError when no operation of `dead_host` was ever recorded.
    """
    interrupted = catalog.journal.interrupted()
    here = [each for each in interrupted if not is_elsewhere(each)]
    elsewhere = [each for each in interrupted if is_elsewhere(each)]  # a `recover` for a dead host was cut off, too
    if dead_host is not None:
        if dead_host not in (hosts := catalog.metadata.hosts()):
            known = ", ".join(hosts) or "none"
            raise NotFoundError(
                f"nothing was ever done on {dead_host}; machines that are known: {known}",
                next_step="mgmt log --status running",
            )
        elsewhere += [each for each in catalog.journal.left_by(dead_host) if each not in (*here, *elsewhere)]
    if dry_run:
        settled = [*map(_would, here), *map(_would_elsewhere, elsewhere)]
        settled += [_leftover(each) for each in _abandoned(catalog)]
        settled += [_settled(each, "the removal of its copy would be finished") for each in unfinished(catalog)]
        settled += list(_remove_probes(open_store, dry_run=True))
        settled += [_unrecorded(path, "would be compared with the archives") for path in unnamed(catalog)][:_NAMED]
        return settled + _left_alone(catalog, elsewhere)
    record = RecoverRecord(target_path=None, command_args={} if dead_host is None else {"host": dead_host})
    with catalog.journal.record(record):
        context = _Context(open_store, catalog, progress)
        settled = [_settle(each, _finish_or_undo, context) for each in here]
        settled += [_settle(each, _settle_elsewhere, context) for each in elsewhere]
        settled += _settle_abandoned(context)
        settled += _finish_removals(open_store, catalog)
        settled += _remove_probes(open_store, dry_run=False)
        settled += _find_unrecorded(catalog, progress)
        remove_abandoned_scratch()
        record.details = {"settled": len(settled)}
    catalog.members.index_names()
    settled += _left_alone(catalog, elsewhere)
    progress.stop()
    return settled


@dataclass(frozen=True, slots=True)
class _Context:
    """What settling works with."""

    open_store: OpenStore
    catalog: Catalog
    progress: Progress


_Way = Callable[[OperationRecord, _Context], str]


def _settle(record: OperationRecord, way: _Way, context: _Context) -> Settled:
    may_stop()
    heard_at = record.heard_at
    try:
        with context.catalog.journal.resume(record):
            action = way(record, context)
    except CatalogError:
        raise  # and nothing else can be settled either
    except MgmtError as exc:
        action = exc.message
    return _settled(record, action, heard_at)


def _settle_elsewhere(record: OperationRecord, context: _Context) -> str:
    """As `_finish_or_undo`, for what another machine has left: nothing on a disk is looked at, nor touched."""
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
            return _finish_delete(record, context.open_store, context.catalog)
    return give_up_elsewhere(record)


def _finish_or_undo(record: OperationRecord, context: _Context) -> str:
    match record:
        case UploadRecord() if record.stage == PROVEN:
            finish_upload(record, context.catalog)
            return "finished: the archive was proven" + (", the original is moved" if record.completed_dir_path else "")
        case UploadRecord():
            return _settle_upload(record, context)
        case DownloadRecord():
            if record.local_path is not None:
                remove_partial(record.local_path, token(record.operation_id))
        case DeleteRecord():
            return _finish_delete(record, context.open_store, context.catalog)
        case FreeRecord():
            if finish_free(record, context.open_store, context.catalog):
                return "finished: the copy is removed"
    record.status = Status.CANCELLED
    record.error_message = "interrupted, and undone by recover"
    return "undone"


def _settle_upload(record: UploadRecord, context: _Context) -> str:
    """Finish an upload whose archive is complete; of any other, remove what it has left. The original stays."""
    left = _settle_in_store(record, context)
    if record.stage == PROVEN and record.source_state is not None:
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


def _settle_in_store(record: UploadRecord, context: _Context) -> str:
    """Record the archive of `record` if it is complete (stage `proven`), else remove its parts and its index.

    Returns what stays in the store all the same, and what decides about it.
    """
    if record.store is None or record.s3_object_key is None:
        return ""
    catalog, store, key = context.catalog, context.open_store(record.store), record.s3_object_key
    if record.upload_id is not None:
        store.abort(key, record.upload_id)
        record.upload_id = None
    else:
        abort_unheard(store, key, catalog)
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION) == archive_id(record):
        try:
            archive = proven_record(store, stored, catalog) or adopt_left(
                record, stored, store, catalog, context.progress
            )
        except (IntegrityError, NotReadyError) as exc:
            return f"{store.location(key)} stays, as it is complete but not proven: {exc.message}"
        with catalog.transaction():
            catalog.journal.link(record, archive, Role.ARCHIVE)
            record.stage, record.proof, record.result_path = PROVEN, archive.proof, store.location(key)
            catalog.journal.checkpoint()
    elif record.index_key is not None:
        remove_index(store, key, record.index_key, archive_id(record))
    return ""


def _finish_delete(record: DeleteRecord, open_store: OpenStore, catalog: Catalog) -> str:
    """If the object is gone, the rest of the deletion follows; if it is still there, nothing was deleted."""
    for archive, role in catalog.metadata.files_of(record):
        if role != Role.ARCHIVE or archive.s3_object_key is None:
            continue
        if remove_remains(open_store(archive.store), archive.s3_object_key, archive.index_key):
            archive.status = FileStatus.DELETED
            return "finished: the archive is deleted"
    record.status = Status.CANCELLED
    record.error_message = "interrupted before anything was deleted"
    return "undone: nothing was deleted"


def unfinished(catalog: Catalog) -> list[FreeRecord]:
    """Removals of copies that failed half way, and of which something is left on this machine.

    What was tried several times, and failed each time, is named once: as the last try has left it.
    """
    newest: dict[str, FreeRecord] = {}
    for each in catalog.metadata.unfinished_removals(host()):
        newest.setdefault(str(each.result_path), each)
    return [each for path, each in newest.items() if os.path.lexists(path)]


def _finish_removals(open_store: OpenStore, catalog: Catalog) -> Iterator[Settled]:
    for each in unfinished(catalog):
        try:
            yield _settled(finish_earlier(each, open_store, catalog), "finished: the copy is removed")
        except CatalogError:
            raise
        except MgmtError as exc:
            yield _settled(each, exc.message)


def _find_unrecorded(catalog: Catalog, progress: Progress) -> Iterator[Settled]:
    """Record what lies in a completed folder, in no record, and is what an archive holds; name what is not.

    A completed folder may be one that the user has for other things, too: of those the first are named, and the others
    counted.
    """
    named = 0
    for path in unnamed(catalog):
        may_stop()
        try:
            archive = record_found(path, catalog, progress)
        except CatalogError:
            raise
        except MgmtError as exc:
            action = exc.message
        else:
            action = _found(path, archive)
            if archive is not None and not was_set_aside(path):
                yield _unrecorded(path, action)
                continue
        named += 1
        if named <= _NAMED:
            yield _unrecorded(path, action, Status.FAILED)
    if named > _NAMED:
        yield _unrecorded("", f"{named - _NAMED} more in completed folders are in no record", Status.FAILED)


def _found(path: str, archive: FileRecord | None) -> str:
    """What is known now of something in no record, and what to do."""
    if was_set_aside(path):
        if archive is None:
            return "left by a removal that is in no record; no archive holds it, so part of it may be gone: look at it"
        other = os.path.join(os.path.dirname(path), "NAME")
        return f"left by a removal that is in no record; {archive.s3_object_key} holds it: mv -n {path} {other}"
    if archive is None:
        next_step = f"mgmt db rebuild, or mgmt upload --keep --on-conflict rename {path}"
        return f"in no record, and no archive that is recorded holds it: {next_step}"
    return f"recorded: it is what {archive.s3_object_key} holds"


def _unrecorded(path: str, action: str, status: Status = Status.SUCCESS) -> Settled:
    return Settled(operation_id="", operation_type="copy", target=path, action=action, status=status.value)


def _abandoned(catalog: Catalog) -> list[UploadRecord]:
    """Uploads that ended unproven and may have left something in a store, for which somebody pays."""
    live = {archive_id(each) for each in catalog.journal.running() if isinstance(each, UploadRecord)}
    ended = catalog.metadata.unfinished_uploads()
    return [each for each in ended if each.stage != PROVEN and archive_id(each) not in live]


def _settle_abandoned(context: _Context) -> Iterator[Settled]:
    for record in _abandoned(context.catalog):
        may_stop()
        try:
            store = context.open_store(record.store)
            if left := _left_behind(record, store, context.catalog):
                yield _settled(record, f"removed {' and '.join(left)} that it had left in the store")
            if (archive := _adopted(record, store, context)) is not None:
                yield _settled(record, f"its archive is complete: proven and recorded as {archive.s3_object_key}")
        except CatalogError:
            raise
        except MgmtError as exc:
            yield _settled(record, exc.message)


def _adopted(record: UploadRecord, store: ObjectStore, context: _Context) -> FileRecord | None:
    """The archive that an upload has completed before it failed, if nobody has recorded it until now."""
    stored = look_up(store, str(record.s3_object_key))
    if stored is None or stored.metadata.get(OPERATION) != archive_id(record):
        return None
    if proven_record(store, stored, context.catalog) is not None:
        return None
    return adopt_left(record, stored, store, context.catalog, context.progress)


def _remove_probes(open_store: OpenStore, *, dry_run: bool) -> Iterator[Settled]:
    """Remove from the configured store, if there is one, what killed probes have left there."""
    try:
        store = open_store(None)
    except ConfigurationError:
        return
    try:
        for each in abandoned_probes(store):
            if not dry_run:
                store.abort(each.key, each.upload_id)
            action = "would be removed from the store" if dry_run else "removed from the store"
            yield _settled_probe(store.location(each.key), action, Status.CANCELLED)
    except MgmtError as exc:
        yield _settled_probe(store.url, exc.message, Status.FAILED)


def _settled_probe(target: str, action: str, status: Status) -> Settled:
    return Settled(operation_id="", operation_type="probe", target=target, action=action, status=status.value)


def _left_behind(record: UploadRecord, store: ObjectStore, catalog: Catalog) -> list[str]:
    """Remove what an upload that has ended unproven left in the store; says what that was."""
    assert record.s3_object_key is not None and record.index_key is not None  # noqa: S101, PT018 - it asked for them
    key, left = record.s3_object_key, []
    if record.upload_id is not None and record.upload_id in {each.upload_id for each in store.pending(key)}:
        store.abort(key, record.upload_id)
        left.append("the parts")
    elif record.upload_id is None and abort_unheard(store, key, catalog):
        left.append("the upload without parts")
    index = look_up(store, record.index_key)
    if index is None:  # it is stored before its archive, so there is no archive either
        for half in [each for each in store.pending(record.index_key) if each.key == record.index_key]:
            store.abort(half.key, half.upload_id)
            left.append("half an index")
    elif remove_index(store, key, record.index_key, archive_id(record)):
        left.append("the index")
    return left


def _left_alone(catalog: Catalog, elsewhere: list[OperationRecord]) -> list[Settled]:
    """What is left as it is, as nobody here can see whether its process lives, and the command that decides."""
    return [
        replace(_settled(each, f"left as it is: {advice}"), type="unknown")
        for each, advice in catalog.journal.unknown()
        if each not in elsewhere
    ]


def _would(record: OperationRecord) -> Settled:
    finishes = isinstance(record, UploadRecord) and record.stage == PROVEN
    return _settled(record, "would be finished" if finishes else "would be finished or undone, by what is found")


def _would_elsewhere(record: OperationRecord) -> Settled:
    left = left_there(record)
    return _settled(record, f"would be taken over, and settled as far as it can be{left and f'; {left}'}")


def _leftover(record: UploadRecord) -> Settled:
    return _settled(record, "what it left in the store, if anything, would be removed")


def _settled(record: OperationRecord, action: str, heard_at: datetime | None = None) -> Settled:
    return Settled(
        operation_id=record.operation_id,
        operation_type=record.operation_type,
        target=record.target_path or "",
        action=action,
        status=record.status.value,
        host=record.host,
        heard_at=heard_at or record.heard_at,
    )
