"""Move an archive to another storage class."""

from dataclasses import dataclass

from mgmt.catalog import ClassRecord, FileRecord, Role
from mgmt.choices import StorageClass
from mgmt.errors import RefusedError
from mgmt.prices import Prices, no_cost
from mgmt.services.steps import class_change
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import content_claim
from mgmt.services.steps.locked import refuse_hidden_lock
from mgmt.services.steps.plan_cost import PlanCost, plan_cost
from mgmt.services.steps.proof import still_there
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.thaw import ThawOptions, refuse_frozen, refuse_to_look
from mgmt.storage import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOptions:
    """Where to move an archive; `early`: although days of its class are billed that it will not be there."""

    storage_class: StorageClass
    early: bool = False


def change_class(name: str, options: ClassOptions, table: Prices, context: Context) -> ClassRecord:
    """Move the archive that `name` means to another class, prove it there, and return the finished record.

    An interrupted move is finished. One that is in the class already stays as it is. Raises RefusedError if the store
    does not do it, if the copy could not be proven, or if it is too early; NotReadyError, when the store was asked to
    thaw it, for a frozen archive.
    """
    archive, record = _found(name, context)
    stored = still_there(archive.store, record)
    if stored.storage_class != options.storage_class:
        _refuse(archive, record, stored, options, table)
        refuse_frozen(archive, stored, ThawOptions(table=table, may_ask=True), context)
    where = archive.store.location(archive.key)
    moved = class_change.objects_of(record, stored)
    estimate = class_change.cost_of(moved, options.storage_class, table)
    asked = ClassRecord(
        target_path=where,
        target_name=archive.key,
        store=archive.store.url,
        s3_object_key=archive.key,
        from_class=stored.storage_class,
        to_class=options.storage_class.value,
        estimated_cost_micros=estimate.micros,
        currency=estimate.currency,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.retry_of,
    )
    journal, claim = context.catalog.journal, where if record.digest is None else content_claim(record.digest)
    try:
        with journal.record(asked, claim=claim) as change:
            journal.link(change, record, Role.ARCHIVE)
            change.to_class = options.storage_class.value
            if class_change.is_moved(record, still_there(archive.store, record), options.storage_class):
                change.details = {**change.details, "already": True}
            else:
                class_change.move(change, archive, context)
    finally:
        context.progress.stop()
    return change


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a move would do and cost. `size` is in bytes."""

    type: str = "preview"
    object: str
    size: int
    from_class: str | None
    to_class: str
    days_left: int
    """The days that are billed although the archive is not in its class any more."""
    cost: PlanCost


def preview(name: str, options: ClassOptions, table: Prices, context: Context) -> Preview:
    """What `change_class` would do with `name`, refusals included, except that it is early; changes nothing."""
    archive, record = _found(name, context)
    stored = still_there(archive.store, record)
    if stored.storage_class != options.storage_class:
        _refuse(archive, record, stored, ClassOptions(storage_class=options.storage_class, early=True), table)
        refuse_to_look(archive, stored, ThawOptions(table=table))
    moved = class_change.objects_of(record, stored)
    estimate = class_change.cost_of(moved, options.storage_class, table)
    is_there = stored.storage_class == options.storage_class
    return Preview(
        object=archive.url,
        size=stored.size,
        from_class=stored.storage_class,
        to_class=options.storage_class.value,
        days_left=0 if is_there else class_change.days_left(moved),
        cost=plan_cost(no_cost(table) if is_there else estimate),
    )


def _found(name: str, context: Context) -> tuple[Archive, FileRecord]:
    archive = find_archive(name, context, strictly=True)
    if archive.record is None:
        raise RefusedError(
            f"{archive.url} is in no record, so nothing could prove its copy", next_step="mgmt db rebuild"
        )
    return archive, archive.record


def _refuse(archive: Archive, record: FileRecord, stored: StoredObject, options: ClassOptions, table: Prices) -> None:
    """Raise RefusedError for what cannot be moved, or not be proven, or is too early."""
    class_change.refuse_unprovable(record, archive.store, options.storage_class)
    if archive.store.bucket is None:
        raise RefusedError(f"{archive.url} is in a directory, which has no storage classes")
    refuse_hidden_lock(record, archive.store, stored)
    if not options.early:
        moved = class_change.objects_of(record, stored)
        class_change.refuse_early(archive.url, moved, options.storage_class, table)
