"""How fast the stores grow, when their disks are full, and when the budget is reached: an estimate."""

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from mgmt import prices
from mgmt.catalog import Share
from mgmt.catalog.files.figures import Survey
from mgmt.choices import StorageClass
from mgmt.prices import Objects, Prices
from mgmt.services.steps.figures import Growth
from mgmt.services.steps.plan_cost import INDEX_BYTES

MONTHS = 6
"""The complete months whose mean is the growth: as many of them as there are since the first archive."""

DAYS_OF_MONTH = 365.25 / 12

_FOLDER = "file://"


def growth(
    survey: Survey, shares: Sequence[Share], table: Prices | None, budget: float | None, now: datetime
) -> Growth:
    """What the archives that are stored grow by, by the mean of the last `MONTHS` complete months.

    A disk is full when the stores on it have grown by what is free on it. Costs grow as the bytes do.
    """
    stored = survey.months_of_stores
    whole = _bytes_per_month([(month, size) for _, month, size in stored], now)
    disks = _disks(sorted({store for store, _, _ in stored}))
    full = []
    for free, stores in disks:
        there = _bytes_per_month([(month, size) for store, month, size in stored if store in stores], now)
        full.append(_after(now, free, there))
    monthly = None if table is None else monthly_cost(shares, table)
    return Growth(
        bytes_per_month=whole,
        free=sum(free for free, _ in disks) if disks else None,
        full_on=min((each for each in full if each is not None), default=None),
        monthly=None if monthly is None else round(float(monthly), 6),
        currency=None if table is None else table.currency,
        budget=budget,
        budget_reached_on=_budget_reached(now, monthly, budget, (whole or 0) / max(survey.whole.size, 1)),
    )


def monthly_cost(shares: Sequence[Share], table: Prices) -> Decimal | None:
    """What the archives and their indexes cost a month; None if a price is unknown. Directories cost nothing."""
    shares = [each for each in shares if each.is_billed]
    by_class: dict[str, Objects] = {}
    for each in shares:
        name = each.storage_class or StorageClass.STANDARD
        so_far = by_class.get(name, Objects(storage_class=name, size=0, count=0, small=0))
        by_class[name] = Objects(
            storage_class=name,
            size=so_far.size + each.size,
            count=so_far.count + each.archives,
            small=(so_far.small or 0) + each.small,
        )
    members, archives = sum(each.members for each in shares), sum(each.archives for each in shares)
    indexes = Objects(storage_class=StorageClass.STANDARD, size=members * INDEX_BYTES, count=archives)
    total = Decimal(0)
    for objects in (*by_class.values(), indexes):
        month = prices.storage_month(table, objects)
        if month.unknown:
            return None
        total += month.known_monthly
    return total


def _bytes_per_month(stored: Sequence[tuple[str, int]], now: datetime) -> int | None:
    """The mean of the last complete months; None before there is one."""
    sizes: dict[str, int] = defaultdict(int)
    for month, size in stored:
        sizes[month] += size
    first, month = min(sizes, default=""), f"{now:%Y-%m}"
    complete: list[int] = []
    while len(complete) < MONTHS and (month := _before(month)) >= first and first:
        complete.append(sizes.get(month, 0))
    return sum(complete) // len(complete) if complete else None


def _before(month: str) -> str:
    """The month before this one, such as "2026-11"."""
    return f"{date.fromisoformat(f'{month}-01') - timedelta(days=1):%Y-%m}"


def _disks(stores: Sequence[str]) -> list[tuple[int, set[str]]]:
    """The free bytes of each disk that has a store on it, and the stores; those not there now are left out."""
    found: dict[int, tuple[int, set[str]]] = {}
    for store in stores:
        if not store.startswith(_FOLDER):
            continue
        path = store.removeprefix(_FOLDER)
        try:
            device, free = os.stat(path).st_dev, shutil.disk_usage(path).free
        except OSError:
            continue
        found.setdefault(device, (free, set()))[1].add(store)
    return list(found.values())


def _after(now: datetime, left: float, each_month: float | None) -> date | None:
    """The day on which what is `left` is used up; None if that never happens, or past the calendar."""
    if not each_month or each_month < 0:
        return None
    try:
        return (now + timedelta(days=max(0.0, left) / each_month * DAYS_OF_MONTH)).date()
    except OverflowError:
        return None


def _budget_reached(now: datetime, monthly: Decimal | None, budget: float | None, rate: float) -> date | None:
    """The day on which a month costs the budget, if what is stored grows by this rate of what there is now."""
    if monthly is None or budget is None:
        return None
    return _after(now, budget - float(monthly), float(monthly) * rate) if monthly < budget else now.date()
