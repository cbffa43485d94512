"""Figures of the operations: how many, how long they took, what they moved, and why they failed."""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.durations import MOVED, Took, milliseconds, took, took_on_server
from mgmt.catalog.db.times import month_of
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.operations import operations


class Count(NamedTuple):
    """Operations that started in one month."""

    month: str
    operation_type: str
    status: str
    operations: int


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


@dataclass(frozen=True, slots=True)
class Activity:
    """Operations that started at `since` or later, and before `until`; None: without that limit."""

    database: Database
    since: datetime | None = None
    until: datetime | None = None

    def tally(self) -> tuple[list[Count], dict[str, Took]]:
        """The number of operations by month, type and status, and how long those of each type took that succeeded."""
        month, kind, status = month_of(operations.c.started_at), operations.c.operation_type, operations.c.status
        if self.database.is_sqlite:
            duration = case((status == Status.SUCCESS, milliseconds()))
            return self._tallied(select(month, kind, status, duration).where(*self._period()))
        counted = select(month, kind, status, func.count()).where(*self._period()).group_by(month, kind, status)
        lasted = select(kind, *took_on_server()).where(*self._succeeded(), operations.c.completed_at.is_not(None))
        with self.database.reading() as session:
            rows = session.execute(counted).all()
            counts = [Count(on, kind, str(status), number) for on, kind, status, number in rows]
            lasts = session.execute(lasted.group_by(kind))
            return counts, {kind: Took(*(each / 1000 for each in rest)) for kind, *rest in lasts}

    def _tallied(self, query: Select[Any]) -> tuple[list[Count], dict[str, Took]]:
        counts: dict[tuple[str, str, str], int] = defaultdict(int)
        lasted: dict[str, array[int]] = defaultdict(lambda: array("q"))
        with self.database.reading() as session:
            result: Any = session.execute(query)
            for month, kind, status, duration in result.cursor:  # a row of SQLAlchemy's takes as long as all the rest
                counts[month, kind, status] += 1
                if duration is not None:
                    lasted[kind].append(duration)
        counted = [Count(*key, number) for key, number in counts.items()]
        return counted, {kind: took(each) for kind, each in lasted.items()}

    def sizes(self) -> dict[str, int]:
        """The bytes that the operations which have succeeded read or wrote, by type."""
        found = {}
        with self.database.reading() as session:
            for kind, size in MOVED.items():
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
