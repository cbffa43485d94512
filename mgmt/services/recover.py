"""Settle what was interrupted and not run again: finish it, or undo it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from mgmt.archive import remove_partial
from mgmt.catalog import (
    Catalog,
    DeleteRecord,
    DownloadRecord,
    FileStatus,
    FreeRecord,
    OperationRecord,
    RecoverRecord,
    Role,
    Status,
    UploadRecord,
)
from mgmt.errors import CatalogError, ConfigurationError, MgmtError, NotFoundError
from mgmt.progress import Progress
from mgmt.services.archives import OpenStore
from mgmt.services.completed import PROVEN, finish_upload
from mgmt.services.elsewhere import finish_elsewhere, give_up_elsewhere, is_elsewhere, is_out_of_reach, left_there
from mgmt.services.files import host, token
from mgmt.services.free import finish_free
from mgmt.services.indexes import OPERATION, look_up
from mgmt.services.local_copy import remove_copy
from mgmt.services.probes import abandoned_probes
from mgmt.services.scratch import remove_abandoned_scratch
from mgmt.services.unheard import abort_unheard
from mgmt.services.upload import archive_id
from mgmt.signals import may_stop
from mgmt.storage import ObjectStore


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

    Nothing of a living process is touched, nor of another host, but for `dead_host`: the caller knows that it is dead,
    and what it held is taken over and settled as far as it can be from here. What cannot be settled now (the store is
    down) is reported with its reason, stays as it is, and can be tried again. Raises CatalogError when what cannot be
    used is the catalog, and NotFoundError when no operation of `dead_host` was ever recorded.
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
        settled = [*map(_would, here), *map(_would_elsewhere, elsewhere)] + [
            _leftover(each) for each in _abandoned(catalog)
        ]
        return settled + list(_remove_probes(open_store, dry_run=True)) + _left_alone(catalog, elsewhere)
    record = RecoverRecord(target_path=None, command_args={} if dead_host is None else {"host": dead_host})
    with catalog.journal.record(record):
        settled = [_settle(each, _finish_or_undo, open_store, catalog) for each in here]
        settled += [_settle(each, _settle_elsewhere, open_store, catalog) for each in elsewhere]
        settled += _remove_abandoned(open_store, catalog)
        settled += _remove_probes(open_store, dry_run=False)
        remove_abandoned_scratch()
        record.details = {"settled": len(settled)}
    settled += _left_alone(catalog, elsewhere)
    progress.stop()
    return settled


_Way = Callable[[OperationRecord, OpenStore, Catalog], str]


def _settle(record: OperationRecord, way: _Way, open_store: OpenStore, catalog: Catalog) -> Settled:
    may_stop()
    heard_at = record.heard_at
    try:
        with catalog.journal.resume(record):
            action = way(record, open_store, catalog)
    except CatalogError:
        raise  # and nothing else can be settled either
    except MgmtError as exc:
        action = exc.message
    return _settled(record, action, heard_at)


def _settle_elsewhere(record: OperationRecord, open_store: OpenStore, catalog: Catalog) -> str:
    """As `_finish_or_undo`, for what another machine has left: nothing on a disk is looked at, nor touched."""
    record.details = {**record.details, "recovered_on": host()}
    match record:
        case UploadRecord() if record.stage == PROVEN:
            return finish_elsewhere(record, catalog)
        case UploadRecord() if not is_out_of_reach(record.store):
            _remove_unproven(record, open_store, catalog)
            return give_up_elsewhere(record, "what was sent is removed")
        case DeleteRecord() if not is_out_of_reach(record.target_path):
            return _finish_delete(record, open_store, catalog)
    return give_up_elsewhere(record)


def _finish_or_undo(record: OperationRecord, open_store: OpenStore, catalog: Catalog) -> str:
    match record:
        case UploadRecord() if record.stage == PROVEN:
            finish_upload(record, catalog)
            return "finished: the archive was proven" + (", the original is moved" if record.completed_dir_path else "")
        case UploadRecord():
            _undo_upload(record, open_store, catalog)
        case DownloadRecord():
            if record.local_path is not None:
                remove_partial(record.local_path, token(record.operation_id))
        case DeleteRecord():
            return _finish_delete(record, open_store, catalog)
        case FreeRecord():
            if finish_free(record, catalog):
                return "finished: the copy is removed"
    record.status = Status.CANCELLED
    record.error_message = "interrupted, and undone by recover"
    return "undone"


def _undo_upload(record: UploadRecord, open_store: OpenStore, catalog: Catalog) -> None:
    """Remove what an upload that was never proven has left; the original is where it was."""
    remove_copy(record)
    _remove_unproven(record, open_store, catalog)


def _remove_unproven(record: UploadRecord, open_store: OpenStore, catalog: Catalog) -> None:
    if record.store is None or record.s3_object_key is None:
        return
    store, key = open_store(record.store), record.s3_object_key
    if record.upload_id is not None:
        store.abort(key, record.upload_id)
        record.upload_id = None
    else:
        abort_unheard(store, key, catalog)
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION) == archive_id(record):
        store.delete(key)
    if record.index_key is not None:
        store.delete(record.index_key)


def _finish_delete(record: DeleteRecord, open_store: OpenStore, catalog: Catalog) -> str:
    """If the object is gone, the rest of the deletion follows; if it is still there, nothing was deleted."""
    for archive, role in catalog.metadata.files_of(record):
        if role != Role.ARCHIVE or archive.s3_object_key is None:
            continue
        store = open_store(archive.store)
        try:
            store.head(archive.s3_object_key)
        except NotFoundError:
            store.delete(archive.s3_object_key)  # a store of files keeps a note beside each object
            if archive.index_key is not None:
                store.delete(archive.index_key)
            archive.status = FileStatus.DELETED
            return "finished: the archive is deleted"
    record.status = Status.CANCELLED
    record.error_message = "interrupted before anything was deleted"
    return "undone: nothing was deleted"


def _abandoned(catalog: Catalog) -> list[UploadRecord]:
    """Uploads that ended unproven and may have left something in a store, for which somebody pays."""
    live = {archive_id(each) for each in catalog.journal.running() if isinstance(each, UploadRecord)}
    ended = catalog.metadata.unfinished_uploads()
    return [each for each in ended if each.stage != PROVEN and archive_id(each) not in live]


def _remove_abandoned(open_store: OpenStore, catalog: Catalog) -> Iterator[Settled]:
    for record in _abandoned(catalog):
        try:
            left = _left_behind(record, open_store(record.store), catalog)
        except MgmtError as exc:
            yield _settled(record, exc.message)
        else:
            if left:
                yield _settled(record, f"removed {' and '.join(left)} that it had left in the store")


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
        return left
    archive = look_up(store, key)
    if archive is None or archive.metadata.get(OPERATION) != archive_id(record):
        store.delete(record.index_key)
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
