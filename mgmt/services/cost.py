"""What the stored archives cost, and would cost in another class: an estimate from the catalog alone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from mgmt import prices
from mgmt.catalog import Catalog, Recent, Share
from mgmt.choices import FROZEN_CLASSES, StorageClass, Tier
from mgmt.errors import ConfigurationError
from mgmt.prices import MINIMUM_DAYS, MINIMUM_SIZE, Estimate, Objects, Prices
from mgmt.services.steps.plan_cost import INDEX_BYTES

GROUPS = ("class", "store", "folder", "year")
"""What archives can be counted by, besides `tag:KEY`."""

OLD_VERSIONS = "(old versions)"
"""The group of what was deleted, but remains in a bucket with versions."""

OLD = Decimal(100_000)
"""Days that end every minimum duration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the archives of a group cost in a month. Sizes are in bytes, money in the currency; None is unknown."""

    type: str = "cost"
    group: str | None
    storage_class: str | None
    archives: int
    size: int
    monthly: float | None
    currency: str
    is_billed: bool = True
    """False: they are stored in directories, which have no price; they count as 0."""
    monthly_then: float | None = None
    """In the other class, if one was asked for."""
    saved_monthly: float | None = None
    move: float | None = None
    """What moving them there costs, once."""
    pays_after_months: float | None = None
    """When the move has paid for itself; None if it never does, or if that is unknown."""


def cost(by: str, other: StorageClass | None, table: Prices, catalog: Catalog) -> list[Cost]:
    """The cost of each group and class, then of older versions, of the indexes, and last of all together.

    `by` is one of `GROUPS`, or `tag:KEY`. With `other`, also what that class would cost, and when the move pays. Raises
    ConfigurationError for another `by`.
    """
    if by not in GROUPS and not (by.startswith("tag:") and by != "tag:"):
        raise ConfigurationError(f"cannot count by {by!r}", next_step=f"use one of {', '.join(GROUPS)}, tag:KEY")
    shares = catalog.usage.by(by, least=MINIMUM_SIZE)
    left = [each._replace(group=OLD_VERSIONS) for each in catalog.usage.old_versions(least=MINIMUM_SIZE)]
    billed = [each for each in (*shares, *left) if each.is_billed]
    averages = _averages(billed, table)
    early: dict[tuple[str | None, str], list[Recent]] = defaultdict(list)
    if other is not None:
        oldest = datetime.now(UTC) - timedelta(days=max(MINIMUM_DAYS.values()))
        for recent in catalog.usage.since(oldest, by, least=MINIMUM_SIZE):
            early[recent.group, _class(recent)].append(recent)
    found = []
    for each in [*shares, *left]:
        monthly = _monthly(each, averages[_class(each)], table) if each.is_billed else Decimal(0)
        line = Cost(
            group=each.group,
            storage_class=each.storage_class,
            archives=each.archives,
            size=each.size,
            monthly=_money(monthly),
            currency=table.currency,
            is_billed=each.is_billed,
        )
        if other is not None and each.is_billed and each.group != OLD_VERSIONS and _class(each) != other:
            line = _moved(line, _objects(each), other, early[each.group, _class(each)], table)
        elif other is not None:
            line = _stays(line)
        found.append(line)
    indexes = _indexes(billed, table)
    found.append(indexes if other is None else _stays(indexes))
    return [*found, _together(found, table, moves=other is not None)]


def _class(share: Share | Recent) -> str:
    return share.storage_class or StorageClass.STANDARD


def _objects(share: Share) -> Objects:
    return Objects(
        storage_class=_class(share), size=share.size, count=share.archives, small=share.small, days_stored=OLD
    )


def _averages(shares: Iterable[Share], table: Prices) -> dict[str, Decimal | None]:
    """The price of a byte and month in each class: it depends on how much there is altogether."""
    billed: dict[str, int] = defaultdict(int)
    for each in shares:
        billed[_class(each)] += _objects(each).billed
    found: dict[str, Decimal | None] = {}
    for storage_class, size in billed.items():
        cell = table.cell(storage_class, "storage")
        whole = None if cell is None else cell.of(Decimal(size) / prices.GB)
        found[storage_class] = None if whole is None else whole / max(size, 1)
    return found


def _monthly(share: Share, average: Decimal | None, table: Prices) -> Decimal | None:
    """What a share costs in a month at the average price of a byte in its class."""
    objects = _objects(share)
    besides = [each.money for each in prices.storage_month(table, objects).monthly[1:]]
    if average is None or None in besides:
        return None
    return average * objects.billed + sum((each for each in besides if each is not None), Decimal(0))


def _moved(line: Cost, stored: Objects, other: StorageClass, early: Iterable[Recent], table: Prices) -> Cost:
    """With what the other class costs. A frozen archive has to be thawed to be moved."""
    move = prices.transition(table, stored, other, stored.count)
    if stored.storage_class in FROZEN_CLASSES:
        move += prices.thaw(table, stored, Tier.BULK, 1)
    today = datetime.now(UTC).date()
    for each in early:
        young = Objects(
            storage_class=_class(each),
            size=each.size,
            count=each.archives,
            small=each.small,
            days_stored=Decimal((today - each.since).days),
        )
        move += prices.deletion(table, young)
    then = _known(Estimate(table.currency, monthly=move.monthly))
    once = _known(Estimate(table.currency, once=move.once))
    return _compared(line, then, once)


def _stays(line: Cost) -> Cost:
    """What stays where it is costs then what it costs now."""
    return replace(line, monthly_then=line.monthly, saved_monthly=0.0, move=0.0)


def _compared(line: Cost, then: Decimal | None, once: Decimal | None) -> Cost:
    saved = None if then is None or line.monthly is None else Decimal(str(line.monthly)) - then
    pays = once / saved if saved is not None and saved > 0 and once is not None else None
    return replace(
        line,
        monthly_then=_money(then),
        saved_monthly=_money(saved),
        move=_money(once),
        pays_after_months=None if pays is None else round(float(pays), 1),
    )


def _known(estimate: Estimate) -> Decimal | None:
    return None if estimate.unknown else estimate.known + estimate.known_monthly


def _indexes(shares: Iterable[Share], table: Prices) -> Cost:
    """The indexes: small objects in STANDARD, about as large as their members are many."""
    shares = list(shares)
    count, members = sum(each.archives for each in shares), sum(each.members for each in shares)
    size = members * INDEX_BYTES
    month = prices.storage_month(table, Objects(storage_class=StorageClass.STANDARD, size=size, count=count))
    return Cost(
        group="(indexes)",
        storage_class=StorageClass.STANDARD,
        archives=count,
        size=size,
        monthly=_money(_known(month)),
        currency=table.currency,
    )


def _together(lines: Iterable[Cost], table: Prices, *, moves: bool) -> Cost:
    lines = list(lines)
    archives = sum(each.archives for each in lines[:-1] if each.group != OLD_VERSIONS)
    whole = Cost(
        group="(all)",
        storage_class=None,
        archives=archives,
        size=sum(each.size for each in lines),
        monthly=_money(_sum(each.monthly for each in lines)),
        currency=table.currency,
    )
    if not moves:
        return whole
    return _compared(whole, _sum(each.monthly_then for each in lines), _sum(each.move for each in lines))


def _sum(values: Iterable[float | None]) -> Decimal | None:
    total = Decimal(0)
    for each in values:
        if each is None:
            return None
        total += Decimal(str(each))
    return total


def _money(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), 6)
