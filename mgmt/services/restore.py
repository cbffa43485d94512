"""Make frozen archives readable for some days."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mgmt.catalog import DownloadRecord, FileRecord, FileStatus, Location, OperationRecord, RestoreRecord, Role, Status
from mgmt.choices import FROZEN_CLASSES
from mgmt.errors import MgmtError, NotFoundError
from mgmt.services.steps.batch import Outcome
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.plan_cost import PlanCost, plan_cost
from mgmt.services.steps.proof import can_be_read
from mgmt.services.steps.resolve import find_archive
from mgmt.services.steps.thaw import ThawOptions, ask, check, cost, longest, look
from mgmt.words import shell_word

MOST = 100_000
"""Archives that one search may choose."""


def restore(name: str, options: ThawOptions, context: Context) -> RestoreRecord:
    """Ask the store to thaw the archive that `name` means, unless it is at it; return the restore.

    It is pending until the archive can be read, and has succeeded if it can be already; with
    `extend`, a copy that would expire earlier is kept for the days that are asked for. Raises as `thaw.ask` does.
    """
    found = find_archive(name, context)
    stored = found.store.head(found.key)
    until = datetime.now(UTC) + timedelta(days=options.days - 1)  # the store rounds, up to a day
    if options.extend and stored.thawed_until is not None and stored.thawed_until < until:
        found.store.restore(found.key, days=options.days, tier=options.tier.value)  # the copy is kept longer
        stored = found.store.head(found.key)
    return ask(found, stored, options, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a restore would do. `size` is the bytes of the object, all of which thaw."""

    type: str = "preview"
    object: str
    size: int
    storage_class: str | None
    state: str
    """What the object is now: readable, frozen or thawing. Only a frozen one is asked for."""
    tier: str
    days: int
    expected_at: datetime | None
    cost: PlanCost | None


def preview(name: str, options: ThawOptions, context: Context) -> Preview:
    """What `restore` would do with `name`; changes nothing."""
    found = find_archive(name, context)
    stored = found.store.head(found.key)
    check(options, stored.storage_class)
    readable = can_be_read(found.store, stored)
    state = "readable" if readable else "thawing" if stored.thawing else "frozen"
    return Preview(
        object=found.store.location(found.key),
        size=stored.size,
        storage_class=stored.storage_class,
        state=state,
        tier=options.tier,
        days=options.days,
        expected_at=datetime.now(UTC) + longest(stored, options.tier) if state == "frozen" else None,
        cost=plan_cost(estimate) if (estimate := cost(stored, options)) is not None else None,
    )


def ready(context: Context, *, change: bool = True) -> tuple[list[str], list[Outcome[DownloadRecord]]]:
    """The URLs of the archives that can be read by now and were not downloaded since; and those that fail.

    Those that thaw are looked at; without `change`, nothing is recorded of it. The store says what can be read, not the
    clock of this machine, and whether it is still the same archive.
    """
    thaws, urls, failed = context.catalog.thaws, dict[str, None](), list[Outcome[DownloadRecord]]()
    for each in [*thaws.pending(), *thaws.to_fetch()]:
        try:
            store = context.open_store(each.store)
            stored = store.head(str(each.s3_object_key))
            if change and each.status == Status.PENDING:
                look(each, store, context)
        except MgmtError as error:
            failed.append(Outcome(str(each.target_path), error=error))
            continue
        if thaws.is_awaited(each):
            continue  # a worker downloads it
        if can_be_read(store, stored) and each.archive_id in (None, stored.metadata.get(OPERATION)):
            urls[str(each.target_path)] = None
    return list(urls), failed


def matching(keyword: str, context: Context) -> list[str]:
    """The URLs of the archives whose name, or the name of a member, matches, and that may be frozen.

    Raises NotFoundError if there is none.
    """
    catalog = context.catalog
    records = catalog.files.search_files(keyword, Location.S3, FileStatus.COMPLETED, deleted=False, limit=MOST)
    found = [*records, *(archive for _, archive in catalog.members.search(keyword, limit=MOST))]
    urls = {_url(each): None for each in found if each.storage_class in (*FROZEN_CLASSES, None)}
    if not urls:
        raise NotFoundError(f"no frozen archive matches {keyword!r}", next_step=f"mgmt search {shell_word(keyword)}")
    return list(urls)


def archives_of(operation_id: str, context: Context) -> list[str]:
    """The URLs of the archives that an operation, or those of a batch, have made, used or found.

    Raises NotFoundError if there is no such operation, or no archive.
    """
    metadata = context.catalog.metadata
    operation = metadata.require_operation(operation_id)
    parts: list[OperationRecord] = [operation, *metadata.list_operations(parent=operation_id, limit=None)]
    linked = (link for each in reversed(parts) for link in metadata.files_of(each, Role.ARCHIVE))
    urls = {_url(archive): None for archive, _ in linked if archive.status is not FileStatus.DELETED}
    if not urls:
        raise NotFoundError(f"operation {operation_id} concerns no archive", next_step=f"mgmt status {operation_id}")
    return list(urls)


def _url(archive: FileRecord) -> str:
    return f"{archive.store}/{archive.s3_object_key}"
