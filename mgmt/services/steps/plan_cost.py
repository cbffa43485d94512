"""What a plan costs: an estimate beside each thing that a command would do, and a limit for all of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from mgmt import prices
from mgmt.catalog import FileRecord
from mgmt.choices import StorageClass
from mgmt.errors import RefusedError
from mgmt.prices import Estimate, Objects, Prices

INDEX_BYTES = 60
"""Bytes of an index for each member, about: a sha256 does not compress."""

_BESIDES = 4
"""Requests of an upload besides those that send the archive: lookups, the index, the proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCost:
    """An estimate in the currency: what is known of it, and what has no known price."""

    once: float
    monthly: float
    currency: str
    unknown: list[str]

    def __str__(self) -> str:
        text = f"{self.once:,.2f}" if self.once >= 0.01 or not self.once else f"{self.once:.6f}".rstrip("0")
        if self.monthly:
            text += f", {self.monthly:,.2f} a month" if self.monthly >= 0.01 else f", {self.monthly:.6f} a month"
        return f"{text} {self.currency}" + (" + unknown" if self.unknown else "")


def plan_cost(estimate: Estimate) -> PlanCost:
    """An estimate as a part of a plan."""
    return PlanCost(
        once=round(float(estimate.known), 9),
        monthly=round(float(estimate.known_monthly), 9),
        currency=estimate.currency,
        unknown=estimate.unknown,
    )


def of_upload(where: str, new: Objects, *, requests: int, members: int, table: Prices) -> PlanCost:
    """What storing an archive at the URL `where` costs, its index included."""
    if not new.size or _is_folder(where):
        return plan_cost(prices.no_cost(table))
    sent = requests - _BESIDES
    index = Objects(storage_class=StorageClass.STANDARD, size=members * INDEX_BYTES)
    return plan_cost(prices.upload(table, new, sent - 2 if sent > 1 else 1) + prices.upload(table, index, 1))


def of_download(where: str, read: Objects, *, requests: int, table: Prices) -> PlanCost:
    """What reading an archive, or a part of it, costs."""
    if not read.size or _is_folder(where):
        return plan_cost(prices.no_cost(table))
    return plan_cost(prices.download(table, read, requests))


def of_deletion(where: str, size: int, record: FileRecord | None, table: Prices) -> PlanCost:
    """What removing an archive costs: the rest of the minimum duration of its class."""
    if record is None or not size or _is_folder(where):
        return plan_cost(prices.no_cost(table))
    return plan_cost(prices.deletion(table, stored(record, size)))


def of_version(size: int, storage_class: str | None, table: Prices) -> PlanCost:
    """What keeping an older version of an archive costs."""
    kept = Objects(storage_class=storage_class or StorageClass.STANDARD, size=size)
    return plan_cost(prices.storage_month(table, kept))


def stored(record: FileRecord, size: int) -> Objects:
    """An archive of the catalog, and how long it has been in its class."""
    since = record.stored_at or record.recorded_at
    return Objects(
        storage_class=record.storage_class or StorageClass.STANDARD,
        size=size,
        days_stored=Decimal(str((datetime.now(UTC) - since).total_seconds())) / 86_400,
    )


def refuse_above(costs: Iterable[PlanCost | None], most: Decimal, *, allow_unknown: bool) -> None:
    """Raise RefusedError if the plan costs more than `most`, with its first month, or if that cannot be told."""
    known, currency = Decimal(0), ""
    unknown: dict[str, None] = {}
    for each in costs:
        if each is not None:
            known += Decimal(str(each.once)) + Decimal(str(each.monthly))
            unknown |= dict.fromkeys(each.unknown)
            currency = each.currency
    if known > most:
        raise RefusedError(
            f"this would cost about {known:,.2f} {currency} with its first month, more than {most}",
            next_step="the same command with -n shows what costs how much",
        )
    if unknown and not allow_unknown:
        raise RefusedError(
            f"the price is unknown of: {', '.join(unknown)}",
            next_step="mgmt config set prices FILE\n# or: --allow-unknown-price",
        )


def _is_folder(where: str) -> bool:
    return where.startswith("file:")
