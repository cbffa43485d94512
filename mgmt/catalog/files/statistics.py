"""Figures of operations, summed up in SQL: how many, how they ended, how long they took, how much they read."""

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, Unpack

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, select
from sqlalchemy.orm import Session

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.durations import MOVED, Took, milliseconds, took, took_on_server
from mgmt.catalog.files.operation_filters import OperationNarrowing, narrow_operations, operations_between
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.operations import operations

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
    """Sums over operations."""

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
            moved = {of_type: session.execute(_moved(of_type, conditions)).one() for of_type in MOVED}
            lasted = _took(conditions, session, is_sqlite=self._database.is_sqlite)
        found = []
        for of_type, *counts in rows:
            (size, spent), (median, p95) = moved.get(of_type, (None, None)), lasted.get(of_type, (None, None, 0))[:2]
            found.append(
                Statistic(
                    operation_type=of_type,
                    **dict(zip(_COUNTED, counts, strict=True)),
                    median_seconds=median,
                    p95_seconds=p95,
                    bytes=size,
                    bytes_per_second=size * 1000 / spent if size is not None and spent else None,
                )
            )
        return found


_COUNTED = ("operations", "succeeded", "failed", "partial", "cancelled", "unfinished")


def _is_done() -> ColumnElement[bool]:
    return operations.c.status.in_(DONE) & operations.c.completed_at.is_not(None)


def _counts(conditions: Conditions) -> Select[Any]:
    """The numbers of `_COUNTED`, by type."""
    of = operations.c
    ends = ((Status.SUCCESS,), (Status.FAILED,), (Status.PARTIAL,), (Status.CANCELLED,), LIVE)
    counts = [case((of.status.in_(each), 1), else_=0) for each in ends]
    sums: list[Any] = [func.count(), *(cast(func.sum(each), BigInteger) for each in counts)]
    query: Select[Any] = select(of.operation_type, *sums)
    return query.where(*conditions).group_by(of.operation_type).order_by(of.operation_type)


def _moved(of_type: str, conditions: Conditions) -> Select[int, int]:
    """The bytes that operations of this type have read, and the milliseconds that took."""
    of, size = operations.c, MOVED[of_type]
    query = select(cast(func.sum(size), BigInteger), cast(func.sum(milliseconds()), BigInteger))
    query = query.select_from(operations).join(size.table, size.table.c.operation_id == of.operation_id)
    return query.where(of.operation_type == of_type, _is_done(), size.is_not(None), *conditions)


def _took(conditions: Conditions, session: Session, *, is_sqlite: bool) -> dict[str, Took]:
    """How long those of each type took that have done their work."""
    conditions, of_type = (_is_done(), *conditions), operations.c.operation_type
    if not is_sqlite:
        rows = session.execute(select(of_type, *took_on_server()).where(*conditions).group_by(of_type))
        return {name: Took(*(each / 1000 for each in rest)) for name, *rest in rows}
    durations: dict[str, array[int]] = defaultdict(lambda: array("q"))
    rows = session.execute(select(of_type, milliseconds()).where(*conditions), execution_options={"yield_per": 10_000})
    for name, duration in rows:
        if duration is not None:  # of a time that another program wrote
            durations[name].append(duration)
    return {name: took(each) for name, each in durations.items()}
