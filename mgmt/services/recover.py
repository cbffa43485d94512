"""Recover interrupted operations: finish them, or undo them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from mgmt.catalog import Catalog, FileRecord, FreeRecord, OperationRecord, RecoverRecord, Status, UploadRecord
from mgmt.errors import CatalogError, ConfigurationError, MgmtError, NotFoundError
from mgmt.services.steps.context import Context
from mgmt.services.steps.dead_host import is_elsewhere, left_there
from mgmt.services.steps.indexes import look_up
from mgmt.services.steps.interrupted import finish_or_undo, finish_or_undo_elsewhere
from mgmt.services.steps.leftovers import (
    abandoned_uploads,
    adopt_complete,
    has_leftovers,
    remove_leftovers,
    remove_replaced_index,
)
from mgmt.services.steps.local_files import host
from mgmt.services.steps.move_original import PROVEN
from mgmt.services.steps.orphans import abandoned_probes
from mgmt.services.steps.scratch import remove_abandoned_scratch
from mgmt.services.steps.set_aside import finish_earlier
from mgmt.services.steps.unrecorded import record_found, unnamed, was_set_aside
from mgmt.signals import may_stop
from mgmt.words import shell_word

_NAMED = 20
"""How many of the unrecorded files and folders in completed folders are named; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was done with one interrupted operation; in a dry run, what would be done."""

    type: str = "settled"
    operation_id: str
    operation_type: str
    target: str
    action: str
    status: str
    host: str | None = None
    """Where it ran."""
    heard_at: datetime | None = None
    """Its last heartbeat before it was taken over."""


def recover(context: Context, *, dry_run: bool, dead_host: str | None = None) -> list[Settled]:
    """Finish or undo every operation of a process that is gone, and remove orphaned uploads.

    A complete archive is never removed: it is proven and recorded, or reported and left. Operations of running
    processes and of other hosts are not touched, except those of `dead_host`, which the caller knows to be down: they
    are taken over and recovered as far as possible from here. What cannot be recovered now (the store is unreachable)
    is reported with its reason, left unchanged, and can be tried again. Raises CatalogError when the catalog cannot be
    used, and NotFoundError when no operation of `dead_host` is recorded.
    """
    catalog = context.catalog
    interrupted = catalog.journal.interrupted()
    here = [each for each in interrupted if not is_elsewhere(each)]
    elsewhere = [each for each in interrupted if is_elsewhere(each)]  # left by an interrupted `recover --host`
    if dead_host is not None:
        if dead_host not in (hosts := catalog.metadata.hosts()):
            known = ", ".join(hosts) or "none"
            raise NotFoundError(
                f"no operations recorded for host {dead_host}; known hosts: {known}",
                next_step="mgmt log --status running",
            )
        elsewhere += [each for each in catalog.journal.left_by(dead_host) if each not in (*here, *elsewhere)]
    taken = [] if dead_host is None else catalog.queue.taken_on(dead_host)
    elsewhere = [each for each in elsewhere if each not in taken]
    if dry_run:
        settled = [_settled(each, "would be left to other workers") for each in taken]
        settled += [*map(_would, here), *map(_would_elsewhere, elsewhere)]
        settled += [_leftover(each) for each in abandoned_uploads(catalog) if _may_have_leftovers(each, context)]
        settled += [_settled(each, "the removal of its copy would be finished") for each in unfinished(catalog)]
        settled += list(_remove_replaced_indexes(context, dry_run=True))
        settled += list(_remove_probes(context, dry_run=True))
        settled += [_unrecorded(path, "would be compared with the archives") for path in unnamed(catalog)][:_NAMED]
        return settled + _left_to_workers(catalog) + _left_alone(catalog, elsewhere)
    record = RecoverRecord(target_path=None, command_args={} if dead_host is None else {"host": dead_host})
    with catalog.journal.record(record):
        released = [] if dead_host is None else catalog.queue.release_from(dead_host)
        settled = [_settled(each, "left to other workers") for each in released]
        settled += [_settle(each, finish_or_undo, context) for each in here]
        settled += [_settle(each, finish_or_undo_elsewhere, context) for each in elsewhere]
        settled += _settle_abandoned(context)
        settled += _finish_removals(context)
        settled += _remove_replaced_indexes(context, dry_run=False)
        settled += _remove_probes(context, dry_run=False)
        settled += _find_unrecorded(context)
        remove_abandoned_scratch()
        record.details = {"settled": len(settled)}
    catalog.members.index_names()
    settled += _left_to_workers(catalog) + _left_alone(catalog, elsewhere)
    context.progress.stop()
    return settled


def _left_to_workers(catalog: Catalog) -> list[Settled]:
    """Requested operations that were interrupted: nothing is done with them here."""
    return [_settled(each, "waits for: mgmt worker") for each in catalog.journal.left_to_workers()]


def _settle(record: OperationRecord, settle: Callable[[OperationRecord, Context], str], context: Context) -> Settled:
    may_stop()
    heard_at = record.heard_at
    try:
        with context.catalog.journal.resume(record):
            action = settle(record, context)
    except CatalogError:
        raise  # nothing else can be recovered either
    except MgmtError as exc:
        action = exc.message
    return _settled(record, action, heard_at)


def unfinished(catalog: Catalog) -> list[FreeRecord]:
    """Removals of copies that failed half way and left something on this machine.

    A removal that failed several times is listed once, as the last attempt left it.
    """
    newest: dict[str, FreeRecord] = {}
    for each in catalog.metadata.unfinished_removals(host()):
        newest.setdefault(str(each.result_path), each)
    return [each for path, each in newest.items() if os.path.lexists(path)]


def _finish_removals(context: Context) -> Iterator[Settled]:
    for each in unfinished(context.catalog):
        try:
            yield _settled(finish_earlier(each, context), "finished: the copy is removed")
        except CatalogError:
            raise
        except MgmtError as exc:
            yield _settled(each, exc.message)


def _find_unrecorded(context: Context) -> Iterator[Settled]:
    """Record each unrecorded copy in a completed folder that an archive holds; report the others.

    The user may keep other things in a completed folder too: the first are named, the rest are counted.
    """
    named = 0
    for path in unnamed(context.catalog):
        may_stop()
        try:
            archive = record_found(path, context.catalog, context.progress)
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
    """What was found out about an unrecorded path, and what to do."""
    if was_set_aside(path):
        if archive is None:
            return "left by a removal that is in no record; no archive holds it, so part of it may be gone: look at it"
        move = f"mv -n {shell_word(path)} {shell_word(os.path.join(os.path.dirname(path), 'NAME'))}"
        return f"left by a removal that is in no record; {archive.s3_object_key} holds it: {move}"
    if archive is None:
        next_step = f"mgmt db rebuild   # or: mgmt upload --keep --on-conflict rename {shell_word(path)}"
        return f"in no record, and no archive that is recorded holds it: {next_step}"
    return f"recorded: it is what {archive.s3_object_key} holds"


def _unrecorded(path: str, action: str, status: Status = Status.SUCCESS) -> Settled:
    return Settled(operation_id="", operation_type="copy", target=path, action=action, status=status.value)


def _settle_abandoned(context: Context) -> Iterator[Settled]:
    for record in abandoned_uploads(context.catalog):
        may_stop()
        try:
            store = context.open_store(record.store)
            if left := remove_leftovers(record, store, context.catalog):
                yield _settled(record, f"removed {' and '.join(left)} that it had left in the store")
            if (archive := adopt_complete(record, store, context)) is not None:
                yield _settled(record, f"its archive is complete: proven and recorded as {archive.s3_object_key}")
        except CatalogError:
            raise
        except MgmtError as exc:
            yield _settled(record, exc.message)


def _remove_replaced_indexes(context: Context, *, dry_run: bool) -> Iterator[Settled]:
    """Remove the indexes of archives that are gone, and whose keys hold other archives."""
    for archive in context.catalog.metadata.replaced_archives():
        may_stop()
        where, status = f"{archive.store}/{archive.index_key}", Status.SUCCESS
        try:
            store = context.open_store(archive.store)
            if dry_run:
                action = "would be removed: its archive is gone" if look_up(store, str(archive.index_key)) else ""
            else:
                action = (
                    "removed: its archive is gone" if remove_replaced_index(archive, store, context.catalog) else ""
                )
        except CatalogError:
            raise
        except MgmtError as exc:
            action, status = exc.message, Status.FAILED
        if action:
            yield Settled(operation_id="", operation_type="index", target=where, action=action, status=status.value)


def _remove_probes(context: Context, *, dry_run: bool) -> Iterator[Settled]:
    """Remove from the configured store, if there is one, what killed probes left."""
    try:
        store = context.open_store(None)
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


def _left_alone(catalog: Catalog, elsewhere: list[OperationRecord]) -> list[Settled]:
    """Operations whose process may still be running, and the command that decides."""
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


def _may_have_leftovers(record: UploadRecord, context: Context) -> bool:
    try:
        return has_leftovers(record, context.open_store(record.store), context.catalog)
    except CatalogError:
        raise
    except MgmtError:
        return True  # the store cannot be asked now


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
