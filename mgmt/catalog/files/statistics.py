"""Figures of operations, summed up in SQL: how many, how they ended, how long they took, how much they read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias, Unpack

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.durations import milliseconds
from mgmt.catalog.files.operation_filters import OperationNarrowing, narrow_operations, operations_between
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.inspections import VerifyRecord
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.transfers import DownloadRecord, UploadRecord

Conditions: TypeAlias = Sequence[ColumnElement[bool]]

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
            rows = session.execute(_counts(conditions)).all()
            moved = {of_type: session.execute(_moved(of_type, conditions)).one() for of_type in _SIZES}
            if self._database.is_sqlite:
                durations = session.execute(_durations(conditions), execution_options={"yield_per": 10_000})
                percentiles = _percentiles(durations, {of_type: done for of_type, *_, done in rows})
            else:
                picked = session.execute(_picked_by_server(conditions))
                percentiles = {of_type: (half / 1000, most / 1000) for of_type, half, most in picked}
        found = []
        for of_type, *counts, _ in rows:
            (size, took), (median, p95) = moved.get(of_type, (None, None)), percentiles.get(of_type, (None, None))
            found.append(
                Statistic(
                    operation_type=of_type,
                    **dict(zip(_COUNTED, counts, strict=True)),
                    median_seconds=median,
                    p95_seconds=p95,
                    bytes=size,
                    bytes_per_second=size * 1000 / took if size is not None and took else None,
                )
            )
        return found


_COUNTED = ("operations", "succeeded", "failed", "partial", "cancelled", "unfinished")
_SIZES: Mapping[str, Any] = {
    "upload": UploadRecord.original_size,
    "download": DownloadRecord.downloaded_size,
    "verify": VerifyRecord.checked_size,
}


def _is_done() -> ColumnElement[bool]:
    return operations.c.status.in_(DONE) & operations.c.completed_at.is_not(None)


def _took() -> ColumnElement[int]:
    return milliseconds(operations.c.started_at, operations.c.completed_at)


def _counts(conditions: Conditions) -> Select[Any]:
    """The numbers of `_COUNTED`, and of those of which the duration counts, by type."""
    of = operations.c
    ends = ((Status.SUCCESS,), (Status.FAILED,), (Status.PARTIAL,), (Status.CANCELLED,), LIVE)
    counts = [case((of.status.in_(each), 1), else_=0) for each in ends] + [case((_is_done(), 1), else_=0)]
    sums: list[Any] = [func.count(), *(cast(func.sum(each), BigInteger) for each in counts)]
    query: Select[Any] = select(of.operation_type, *sums)
    return query.where(*conditions).group_by(of.operation_type).order_by(of.operation_type)


def _moved(of_type: str, conditions: Conditions) -> Select[int, int]:
    """The bytes that operations of this type have read, and the milliseconds that took."""
    of, size = operations.c, _SIZES[of_type].expression
    query = select(cast(func.sum(size), BigInteger), cast(func.sum(_took()), BigInteger))
    query = query.select_from(operations).join(size.table, size.table.c.operation_id == of.operation_id)
    return query.where(of.operation_type == of_type, _is_done(), size.is_not(None), *conditions)


def _durations(conditions: Conditions) -> Select[Any]:
    """The type and the duration of each, in this order."""
    took = _took()
    query = select(operations.c.operation_type, took).where(_is_done(), *conditions)
    return query.order_by(operations.c.operation_type, took)


def _picked_by_server(conditions: Conditions) -> Select[Any]:
    """The same percentiles as `_percentiles`, as PostgreSQL finds them."""
    picked = [func.percentile_disc(share).within_group(_took()) for share in (0.5, 0.95)]
    query = select(operations.c.operation_type, *picked).where(_is_done(), *conditions)
    return query.group_by(operations.c.operation_type)


def _percentiles(durations: Iterable[Any], finished: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """The median and the 95th percentile by type: the duration of an operation, as percentile_disc of SQL has it."""
    found: dict[str, tuple[float, float]] = {}
    for of_type, group in groupby(durations, itemgetter(0)):
        half, most = ((finished[of_type] * share + 99) // 100 for share in (50, 95))
        median = last = 0
        for number, (_, last) in enumerate(group, 1):
            if number == half:
                median = last
            if number == most:
                break
        found[of_type] = median / 1000, last / 1000
    return found
