"""Figures of operations, summed up in SQL: how many, how they ended, how long they took, how much they read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, case, cast, func, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.durations import microseconds
from mgmt.catalog.files.operation_filters import OperationNarrowing, narrow_operations, operations_between
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.inspections import VerifyRecord
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.transfers import DownloadRecord, UploadRecord

DONE = (Status.SUCCESS, Status.PARTIAL)
"""Ends of operations that have done their work, if only a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """The operations of one type. Durations, bytes and rate are of those that succeeded, wholly or in part."""

    type: str = "statistic"
    operation_type: str
    operations: int
    succeeded: int
    failed: int
    partial: int
    cancelled: int
    unfinished: int
    """Pending and running."""
    median_seconds: float | None
    p95_seconds: float | None
    """95 of 100 took no longer."""
    bytes: int | None
    """Read to be archived, restored or verified; None of other types."""
    bytes_per_second: float | None
    """Those bytes by the time that these operations took."""


class Statistics:
    """Sums over operations. Nothing grows with their number but the time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_type(
        self,
        operation_type: str | None = None,
        status: Status | str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        **narrowing: Unpack[OperationNarrowing],
    ) -> list[Statistic]:
        """The operations that `list_operations` would list, by type, in the order of the types' names."""
        conditions = operations_between(operation_type, status, start_date, end_date) + narrow_operations(narrowing)
        with self._database.reading() as session:
            percentiles = {of_type: seconds for of_type, *seconds in session.execute(_percentiles(conditions))}
            rows = session.execute(_sums(conditions)).all()
        found = []
        for of_type, *counts, size, micros in rows:
            median, p95 = (None if each is None else each / 1e6 for each in percentiles.get(of_type, (None, None)))
            rate = size * 1e6 / micros if size is not None and micros else None
            found.append(
                Statistic(
                    operation_type=of_type,
                    **dict(zip(_COUNTED, counts, strict=True)),
                    median_seconds=median,
                    p95_seconds=p95,
                    bytes=size,
                    bytes_per_second=rate,
                )
            )
        return found


_COUNTED = ("operations", "succeeded", "failed", "partial", "cancelled", "unfinished")


def _sums(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    of, uploads, downloads, verifications = (
        operations.c, UploadRecord.__table__, DownloadRecord.__table__, VerifyRecord.__table__,
    )  # fmt: skip
    sizes = uploads.c.original_size, downloads.c.downloaded_size, verifications.c.checked_size
    size = case((of.status.in_(DONE), func.coalesce(*sizes)))
    micros = case((size.is_not(None), microseconds(of.started_at, of.completed_at)))
    ends = ((Status.SUCCESS,), (Status.FAILED,), (Status.PARTIAL,), (Status.CANCELLED,), LIVE)
    counts = [func.sum(case((of.status.in_(each), 1), else_=0)) for each in ends]
    sums = [cast(each, BigInteger) for each in (func.count(), *counts, func.sum(size), func.sum(micros))]
    tables: FromClause = operations
    for table in (uploads, downloads, verifications):
        tables = tables.outerjoin(table, table.c.operation_id == of.operation_id)
    query = select(of.operation_type, *sums).select_from(tables).where(*conditions)
    return query.group_by(of.operation_type).order_by(of.operation_type)


def _percentiles(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The median and the 95th percentile by type, each the duration of an operation (percentile_disc in SQL)."""
    of = operations.c
    micros = microseconds(of.started_at, of.completed_at)
    number = func.row_number().over(partition_by=of.operation_type, order_by=micros).label("number")
    count = func.count().over(partition_by=of.operation_type).label("count")
    facts = select(of.operation_type, micros.label("micros"), number, count)
    done = facts.where(of.status.in_(DONE), micros.is_not(None), *conditions).subquery()
    picked = [
        func.max(case((done.c.number == (done.c.count * share + 99) // 100, done.c.micros))) for share in (50, 95)
    ]
    return select(done.c.operation_type, *picked).group_by(done.c.operation_type)
