"""The report as a page: what it lists besides the figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from mgmt.catalog import Catalog, PastOperation, StoredArchive
from mgmt.services.steps.figures import Report

ARCHIVES = 10_000
"""Archives that a page lists unless the user asks for more."""
OPERATIONS, OPERATIONS_OF_A_MONTH = 3000, 50


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
    """Of each month of the report, in order."""
    operations: tuple[tuple[PastOperation, ...], ...]
    """Of each month some: those that failed, then the newest."""


def listed(report: Report, catalog: Catalog, archives: int = ARCHIVES) -> Listed:
    """What a page of `report` lists: up to so many `archives`, and of each month some operations."""
    periods = tuple(_periods(report))
    each = max(5, min(OPERATIONS_OF_A_MONTH, OPERATIONS // max(1, len(periods))))
    found = catalog.page_rows.operations([(period.since, period.until) for period in periods], each)
    return Listed(
        archives=tuple(catalog.page_rows.archives(archives)),
        periods=periods,
        operations=tuple(map(tuple, found)),
    )


def _periods(report: Report) -> Iterator[Period]:
    months = [each.month for each in report.months]
    if not months:
        return
    starts = [datetime(int(each[:4]), int(each[5:7]), 1, tzinfo=UTC) for each in months]
    last = starts[-1]
    end = last.replace(year=last.year + last.month // 12, month=last.month % 12 + 1)
    for month, (since, until) in zip(months, pairwise([*starts, end]), strict=True):
        yield Period(
            month=month,
            since=since if report.since is None else max(since, report.since),
            until=until if report.until is None else min(until, report.until),
        )
