"""Figures of the operations: how many, how long they took, what they moved, and why they failed."""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.times import month_of, seconds_between
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.inspections import VerifyRecord
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.transfers import DownloadRecord, UploadRecord


class Count(NamedTuple):
    """Operations that started in one month."""

    month: str
    operation_type: str
    status: str
    operations: int


class Durations(NamedTuple):
    """How long the operations of a type took that have succeeded, in seconds."""

    operation_type: str
    median: float
    p95: float
    total: float


class Messages(NamedTuple):
    """Operations of a type that failed with the same message, where a path stands for their own targets."""

    operation_type: str
    message: str
    operations: int
    last_seq: int


class Last(NamedTuple):
    """One operation."""

    operation_id: str
    at: datetime


PAGE = 50_000
"""Operations whose messages are read at once."""

TARGET = "…"
"""Stands in a message for the path that the operation worked on."""

_BYTES: Mapping[str, Any] = {
    "upload": UploadRecord.__table__.c.original_size,
    "download": DownloadRecord.__table__.c.downloaded_size,
    "verify": VerifyRecord.__table__.c.checked_size,
}
"""What the operations of a type read or wrote."""


@dataclass(frozen=True, slots=True)
class Activity:
    """Operations that started at `since` or later, and before `until`; None: without that limit."""

    database: Database
    since: datetime | None = None
    until: datetime | None = None

    def tally(self) -> tuple[list[Count], list[Durations]]:
        """The number of operations by month, type and status, and how long each type took.

        The median and the 95th percentile are the least that so many have not exceeded (the nearest rank).
        """
        month, kind, status = month_of(operations.c.started_at), operations.c.operation_type, operations.c.status
        seconds = seconds_between(operations.c.started_at, operations.c.completed_at)
        if self.database.is_sqlite:  # it has no percentiles, and sorts rows slower than Python numbers
            took = case((status == Status.SUCCESS, seconds))
            return self._tallied(select(month, kind, status, took).where(*self._period()))
        counted = select(month, kind, status, func.count()).where(*self._period()).group_by(month, kind, status)
        median, p95 = (func.percentile_disc(share).within_group(seconds) for share in (0.5, 0.95))
        lasted = select(kind, median, p95, func.sum(seconds)).where(*self._succeeded()).group_by(kind)
        with self.database.reading() as session:
            rows = session.execute(counted).all()
            counts = [Count(on, kind, str(status), number) for on, kind, status, number in rows]
            return counts, [Durations(*row) for row in session.execute(lasted)]

    def _tallied(self, query: Select[Any]) -> tuple[list[Count], list[Durations]]:
        counts: dict[tuple[str, str, str], int] = defaultdict(int)
        lasted: dict[str, array[float]] = defaultdict(lambda: array("d"))
        with self.database.reading() as session:
            result: Any = session.execute(query)
            for month, kind, status, seconds in result.cursor:  # a row of SQLAlchemy's takes as long as all the rest
                counts[month, kind, status] += 1
                if seconds is not None:
                    lasted[kind].append(seconds)
        durations = []
        for kind, each in lasted.items():
            ranked = sorted(each)
            median, p95 = (ranked[-(-len(ranked) * percent // 100) - 1] for percent in (50, 95))
            durations.append(Durations(kind, median, p95, math.fsum(ranked)))
        return [Count(*key, number) for key, number in counts.items()], durations

    def sizes(self) -> dict[str, int]:
        """The bytes that the operations which have succeeded read or wrote, by type."""
        found = {}
        with self.database.reading() as session:
            for kind, size in _BYTES.items():
                total = select(cast(func.coalesce(func.sum(size), 0), BigInteger))
                joined = total.join(operations, operations.c.operation_id == size.table.c.operation_id)
                if self.since is None and self.until is None:
                    # Nearly all have succeeded, and to look up the others takes less time.
                    others = joined.where(operations.c.status.in_([each for each in Status if each != Status.SUCCESS]))
                    others = others.where(func.coalesce(operations.c.operation_type, "") == kind)  # by that of statuses
                    query = select(total.scalar_subquery() - others.scalar_subquery())
                else:
                    query = joined.where(*self._succeeded())
                found[kind] = int(session.execute(query).scalar_one())
        return found

    def failures(self) -> Iterator[Messages]:
        """The messages of the operations that failed, a page of operations after the other: there may be any number."""
        path, message = operations.c.target_path, func.coalesce(operations.c.error_message, "")
        told = case((path.like("%/%"), func.replace(message, path, TARGET)), else_=message).label("told")
        failed = select(operations.c.operation_type, told, operations.c.seq)
        failed = failed.where(*self._period(), operations.c.status == Status.FAILED)
        seq, size = 0, PAGE
        while size == PAGE:
            page = failed.where(operations.c.seq > seq).order_by(operations.c.seq).limit(PAGE).subquery()
            kind = page.c.operation_type
            query = select(kind, page.c.told, func.count(), func.max(page.c.seq)).group_by(kind, page.c.told)
            with self.database.reading() as session:
                rows = [Messages(*row) for row in session.execute(query)]
            yield from rows
            seq, size = max((row.last_seq for row in rows), default=0), sum(row.operations for row in rows)

    def last(self, seq: int) -> Last:
        """The operation with this number."""
        at = func.coalesce(operations.c.completed_at, operations.c.started_at)
        query: Select[Any] = select(operations.c.operation_id, at).where(operations.c.seq == seq)
        with self.database.reading() as session:
            return Last(*session.execute(query).one())

    def _period(self) -> list[ColumnElement[bool]]:
        limits = []
        if self.since is not None:
            limits.append(operations.c.started_at >= self.since)
        if self.until is not None:
            limits.append(operations.c.started_at < self.until)
        return limits

    def _succeeded(self) -> list[ColumnElement[bool]]:
        return [*self._period(), operations.c.status == Status.SUCCESS]
