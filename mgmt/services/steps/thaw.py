"""Thawing a frozen archive: the store is asked once, whoever asks, and looked at until the archive can be read."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mgmt import prices
from mgmt.catalog import Catalog, FileRecord, RestoreRecord, Status
from mgmt.choices import FROZEN_CLASSES, StorageClass, Tier
from mgmt.errors import BusyError, ConfigurationError, MgmtError, NotReadyError, StoreUnavailableError
from mgmt.prices import Estimate, Objects, Prices
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.plan_cost import plan_cost
from mgmt.services.steps.proof import can_be_read
from mgmt.services.steps.request_arguments import NAMES, WORKER
from mgmt.services.steps.requests import Attempts, new_job
from mgmt.services.steps.resolve import Archive
from mgmt.storage import ObjectStore, StoredObject

LONGEST: Mapping[tuple[str, Tier], timedelta] = {
    (StorageClass.GLACIER, Tier.EXPEDITED): timedelta(minutes=5),
    (StorageClass.GLACIER, Tier.STANDARD): timedelta(hours=5),
    (StorageClass.GLACIER, Tier.BULK): timedelta(hours=12),
    (StorageClass.DEEP_ARCHIVE, Tier.STANDARD): timedelta(hours=12),
    (StorageClass.DEEP_ARCHIVE, Tier.BULK): timedelta(hours=48),
}
"""How long a thaw takes at most, as Amazon states it; it has no Expedited for DEEP_ARCHIVE."""

RESTORE = "restore"
"""The detail of a requested operation that names the restore which it has waited for."""

ASKING = "asking"
"""The detail of a restore that says when the store was about to be asked for it."""

UNANSWERED = timedelta(hours=1)
"""How long after that a frozen archive shows that the store was not asked."""

SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(minutes=30)
"""Between two looks at a thaw that takes longer than it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThawOptions:
    """How fast, and for how many days an archive is to be readable."""

    tier: Tier = Tier.STANDARD
    days: int = 7
    table: Prices | None = None
    """For an estimate of what it costs."""
    extend: bool = False
    """Keep a copy that there is already for so many days."""
    may_ask: bool = False
    """Whether the store may be asked: only a command that the user has typed may spend money."""


def check(options: ThawOptions, storage_class: str | None) -> None:
    """Raise ConfigurationError for a tier that the storage class does not have."""
    if storage_class == StorageClass.DEEP_ARCHIVE and options.tier == Tier.EXPEDITED:
        raise ConfigurationError(
            "DEEP_ARCHIVE has no Expedited restore", next_step="use --tier Standard or --tier Bulk"
        )


def longest(stored: StoredObject, tier: Tier) -> timedelta:
    """How long a thaw takes at most; twelve hours where that is not known."""
    return LONGEST.get((str(stored.storage_class), tier), timedelta(hours=12))


def cost(stored: StoredObject, options: ThawOptions) -> Estimate | None:
    """What the thaw costs; None without prices."""
    if options.table is None or not stored.frozen or stored.thawing:
        return None
    frozen = Objects(storage_class=str(stored.storage_class), size=stored.size)
    return prices.thaw(options.table, frozen, options.tier, options.days)


def ask(found: Archive, stored: StoredObject, options: ThawOptions, context: Context) -> RestoreRecord:
    """The restore of the frozen archive `found`: the pending one if there is one, looked at again, or else a new one.

    It has succeeded if the archive can be read. Raises ConfigurationError for a tier that there is not, NotReadyError
    if a pending one has come to nothing, and what the store answers.
    """
    check(options, stored.storage_class)
    requested = _requested(context)
    where = found.store.location(found.key)
    # A worker runs it by these arguments, whichever command has asked.
    arguments: dict[str, object] = {NAMES: [where], "tier": options.tier.value, "days": options.days}
    restore = requested or RestoreRecord(command_args=arguments, parent_id=context.parent, retry_of=context.retry_of)
    restore.target_path, restore.target_name = where, found.key
    restore.store, restore.s3_object_key, restore.s3_storage_class = found.store.url, found.key, stored.storage_class
    restore.archive_id, restore.tier, restore.days = stored.metadata.get(OPERATION), options.tier, options.days
    if (estimate := cost(stored, options)) is not None:
        restore.estimated_cost_micros, restore.currency = estimate.micros, estimate.currency
    job = new_job("restore", "", None, found.store.url, Attempts())
    live = context.catalog.thaws.begin(restore, job, found.record)
    if requested is not None and live is not requested:
        context.catalog.queue.end_requested(requested.operation_id, None)  # another one is at it
    return look(live, found.store, context)


def look(restore: RestoreRecord, store: ObjectStore, context: Context) -> RestoreRecord:
    """Look at a pending restore, and ask the store for it if nobody has: one process at a time.

    Raises NotReadyError if the archive is frozen although the store was asked and is not at it any more.
    """
    catalog, operation_id = context.catalog, restore.operation_id
    try:
        if catalog.jobs.take_one(operation_id, worker=os.environ.get(WORKER)) is None:
            return restore
    except BusyError:
        return restore  # somebody else looks just now
    try:
        _advance(restore, store, context)
    except MgmtError as error:
        if restore.requested_at is not None and isinstance(error, StoreUnavailableError):
            catalog.thaws.look_again(restore, datetime.now(UTC) + SHORTEST_PAUSE)
        else:
            catalog.thaws.note_failed(restore, error.message)
        raise
    return restore


def refuse_frozen(found: Archive, stored: StoredObject, options: ThawOptions, context: Context) -> None:
    """Ask for the thaw of a frozen archive, and raise NotReadyError, which says when it will be readable.

    A requested operation waits for the restore then, whatever becomes of the error. Nothing is asked of the store if
    `options` do not permit it, nor for what is done again: it was paid for once.
    """
    if can_be_read(found.store, stored):
        return
    pending = context.catalog.thaws.live(found.store.url, found.key, stored.metadata.get(OPERATION))
    if pending is None and not _may_ask(options, context):
        refuse_to_look(found, stored, options)
    estimate = cost(stored, options)
    restore = ask(found, stored, options, context)
    if restore.status == Status.SUCCESS:
        return  # since the store was asked for `stored`
    if context.requested is not None:
        context.catalog.thaws.let_wait(context.requested, restore, RESTORE)
    when = f"by {restore.expected_at:%Y-%m-%d %H:%M} UTC" if restore.expected_at is not None else "later"
    raise NotReadyError(
        f"{found.url} is frozen ({stored.storage_class}) and is being restored, which should end {when}"
        + (f"; the restore costs {estimate}" if estimate is not None else ""),
        next_step=f"mgmt download --wait {found.word}\n# or the same command then",
    )


def refuse_to_look(found: Archive, stored: StoredObject, options: ThawOptions) -> None:
    """Raise NotReadyError for a frozen archive, as `refuse_frozen` does, without asking for its thaw."""
    if can_be_read(found.store, stored):
        return
    check(options, stored.storage_class)
    if stored.thawing:
        raise NotReadyError(
            f"{found.url} is frozen ({stored.storage_class}) and is being restored", next_step="mgmt restore --ready"
        )
    hours, estimate = longest(stored, options.tier) // timedelta(hours=1), cost(stored, options)
    price = f", and cost {estimate}" if estimate is not None else ""
    error = NotReadyError(
        f"{found.url} is frozen ({stored.storage_class}): to restore it would take up to {hours} h{price}",
        next_step=f"mgmt restore {found.word}",
    )
    error.cost = plan_cost(estimate) if estimate is not None else None
    error.retryable = False  # not before somebody has it thawed
    raise error


def _may_ask(options: ThawOptions, context: Context) -> bool:
    """Whether this work may ask for a thaw: a repetition may not, nor what has waited for one already."""
    if not options.may_ask or context.retry_of is not None:
        return False
    operation_id = context.requested
    while operation_id is not None:
        operation = context.catalog.metadata.get_operation(operation_id)
        if operation is None or RESTORE in operation.details:
            return operation is None
        operation_id = operation.retry_of
    return True


def wait(found: Archive, options: ThawOptions, context: Context) -> None:
    """Return when the archive `found` can be read; ask for its thaw if it is frozen.

    It looks when the thaw should be over, and then again and again, less and less often.
    """
    told = False
    while not can_be_read(found.store, stored := found.store.head(found.key)):
        estimate = cost(stored, options)
        restore = ask(found, stored, options, context)
        if restore.status == Status.SUCCESS:
            return
        if not told and restore.expected_at is not None:
            price = f"; the restore costs {estimate}" if estimate is not None else ""
            context.progress.note(
                f"note: {found.url} should be restored by {restore.expected_at:%Y-%m-%d %H:%M} UTC{price}"
            )
            told = True
        context.progress.start(f"wait for {found.key}")
        job = context.catalog.jobs.job(restore.operation_id)
        at = job.not_before if job is not None else None
        pause((at - datetime.now(UTC)).total_seconds() if at is not None else SHORTEST_PAUSE.total_seconds())
        context.progress.stop()


def pause(seconds: float) -> None:
    """Wait that long, a second at least; a signal ends it."""
    time.sleep(max(1.0, seconds))


def states(files: Iterable[object], catalog: Catalog) -> dict[int, str]:
    """The state of each archive of a class that freezes, by its id in the catalog."""
    archives = [each for each in files if isinstance(each, FileRecord) and each.storage_class in FROZEN_CLASSES]
    restores = catalog.thaws.latest_of(archives) if archives else {}
    return {each.id: state(restores.get(each.id)) for each in archives}


def state(restore: RestoreRecord | None) -> str:
    """What the catalog knows of a frozen archive: frozen, thawing, ready or expired."""
    if restore is None or restore.status not in (Status.PENDING, Status.SUCCESS):
        return "frozen"
    if restore.status == Status.PENDING:
        return "thawing"
    return "ready" if restore.expires_at is None or restore.expires_at > datetime.now(UTC) else "expired"


def _advance(restore: RestoreRecord, store: ObjectStore, context: Context) -> None:
    thaws, key, now = context.catalog.thaws, str(restore.s3_object_key), datetime.now(UTC)
    stored = store.head(key)
    if can_be_read(store, stored):
        thaws.note_ready(restore, stored.thawed_until)
        return
    if restore.requested_at is None:
        if not stored.thawing:
            _refuse_doubtful(restore, store.location(key), now)
            with context.catalog.transaction():
                restore.details = {**restore.details, ASKING: now.isoformat()}
            store.restore(key, days=restore.days or 1, tier=str(restore.tier))
        thaws.note_requested(restore, now + longest(stored, Tier(str(restore.tier))))
    elif stored.thawing:
        since = now - restore.requested_at
        expected = restore.expected_at or now
        thaws.look_again(restore, max(expected, now + min(max(since / 10, SHORTEST_PAUSE), LONGEST_PAUSE)))
    else:
        where = store.location(key)
        raise NotReadyError(
            f"{where} is frozen again: the restore that was requested at {restore.requested_at:%Y-%m-%d %H:%M} UTC has "
            "expired unread",
            next_step=f"mgmt restore {where}\n# requests it again",
        )


def _refuse_doubtful(restore: RestoreRecord, where: str, now: datetime) -> None:
    """Raise NotReadyError if the store may have been asked so long ago that the thaw can have expired since."""
    asking = restore.details.get(ASKING)
    if asking is not None and now - datetime.fromisoformat(str(asking)) > UNANSWERED:
        raise NotReadyError(
            f"{where} is frozen, and its restore may have been requested at {asking} and have expired unread",
            next_step=f"mgmt restore {where}\n# requests it again",
        )


def _requested(context: Context) -> RestoreRecord | None:
    """The restore that was requested to run later, and is to run now."""
    if context.requested is None:
        return None
    operation = context.catalog.metadata.require_operation(context.requested)
    return operation if isinstance(operation, RestoreRecord) and operation.status == Status.PENDING else None
