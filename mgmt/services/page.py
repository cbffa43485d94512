"""The report as a page: what it lists besides the figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from mgmt.catalog import Catalog, PageRows, PastOperation, StoredArchive
from mgmt.choices import ARCHIVES_OF_A_PAGE
from mgmt.services.steps.figures import Report

MONTHS = 120
"""The last months of the report, which a page shows one by one."""
OPERATIONS, OPERATIONS_OF_A_MONTH = 3000, 50

_LAST, _END = datetime(9999, 12, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
"""The last month that a time can have, and its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The part of a month that the report covers."""

    month: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a page lists besides the figures."""

    archives: tuple[StoredArchive, ...]
    """The newest first."""
    periods: tuple[Period, ...]
    """The last `MONTHS` of the report, in order."""
    operations: tuple[tuple[PastOperation, ...], ...]
    """Of each month some: those that failed, then the newest."""


def listed(report: Report, catalog: Catalog, archives: int = ARCHIVES_OF_A_PAGE) -> Listed:
    """What a page of `report` lists: up to so many `archives`, and of each month some operations."""
    periods = tuple(_periods(report))
    each = min(OPERATIONS_OF_A_MONTH, OPERATIONS // max(1, len(periods)))
    rows = PageRows(catalog.database)
    found = rows.operations([(period.since, period.until) for period in periods], each)
    return Listed(
        archives=tuple(rows.archives(archives)),
        periods=periods,
        operations=tuple(map(tuple, found)),
    )


def _periods(report: Report) -> Iterator[Period]:
    months = [each.month for each in report.months[-MONTHS:]]
    if not months:
        return
    starts = [datetime(int(each[:4]), int(each[5:7]), 1, tzinfo=UTC) for each in months]
    end = (starts[-1] + timedelta(days=31)).replace(day=1) if starts[-1] < _LAST else _END
    for month, (since, until) in zip(months, pairwise([*starts, end]), strict=True):
        yield Period(
            month=month,
            since=since if report.since is None else max(since, report.since),
            until=until if report.until is None else min(until, report.until),
        )
