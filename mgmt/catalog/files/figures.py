"""Figures of the archives that are stored: their volume by group, and how many of them need attention.

All archives are read, and most of their columns: SQLite reads a table from its beginning to its end five times as fast
as by an index that has not all of that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    case,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)

from mgmt.catalog.db.database import Database
from mgmt.catalog.files.exposed import Limits, is_old, unlocks
from mgmt.catalog.files.filters import WHEN
from mgmt.catalog.files.stored import SIZE, STORED, grouped
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import operations

GROUPS = ("class", "store", "folder", "user", "host")
"""What the volume is counted by, besides the value of a tag."""

OTHERS = "(others)"
"""The name of what the groups past the largest ones have together."""


class Sum(NamedTuple):
    """Archives of one group. Sizes are in bytes."""

    group: str | None
    archives: int
    size: int
    original_size: int


class InStore(NamedTuple):
    """The archives of one class in one store."""

    store: str
    storage_class: str | None
    archives: int
    size: int
    unverified: int


@dataclass(frozen=True, slots=True)
class Survey:
    """All archives, read once."""

    whole: Sum
    groups: dict[str, list[Sum]]
    """By each of `GROUPS`, the largest first; those past so many are one, `OTHERS`."""
    months: dict[str, Sum]
    months_of_stores: list[tuple[str, str, int]]
    """The bytes in each store by the month in which they were archived."""
    unverified: tuple[int, int]
    """Their number and bytes."""
    unlocking: tuple[int, int]


class Figures:
    """Sums over the archives that are stored now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def survey(self, limits: Limits, most: int) -> Survey:
        """The volume by all groups, at most so many of each, and how many archives need attention."""
        cube = self._cube(limits)
        parts = [_part(cube, name, most) for name in GROUPS]
        parts += [_part(cube, "month", None, besides="store"), _part(cube, "all", None)]
        with self._database.reading() as session:
            rows = session.execute(union_all(*parts)).all()
        found: dict[str, list[Any]] = {name: [] for name in (*GROUPS, "month", "all")}
        for name, *rest in rows:
            found[name].append(rest)
        [[_, _, archives, size, original, *attention]] = found["all"] or [[None, None, *[0] * 7]]
        whole = Sum(None, archives, size, original)
        months: dict[str, Sum] = {}
        for month, _, *counts in found["month"]:
            before = months.get(month, Sum(month, 0, 0, 0))
            months[month] = Sum(month, *(a + b for a, b in zip(before[1:], counts[:3], strict=True)))
        return Survey(
            whole=whole,
            groups={name: with_others([Sum(each[0], *each[2:5]) for each in found[name]], whole) for name in GROUPS},
            months=months,
            months_of_stores=[(str(store), str(month), size) for month, store, _, size, *_ in found["month"]],
            unverified=(attention[0], attention[1]),
            unlocking=(attention[2], attention[3]),
        )

    def by_month(self, since: datetime | None, until: datetime | None) -> dict[str, Sum]:
        """The archives of a period, by month."""
        month = self._grouped("month")
        query = select(month, *_sums()).where(*STORED)
        if since is not None:
            query = query.where(since <= WHEN)
        if until is not None:
            query = query.where(until > WHEN)
        with self._database.reading() as session:
            return {str(each[0]): Sum(*each) for each in session.execute(query.group_by(month).order_by(month))}

    def by_tag(self, key: str, most: int) -> list[Sum]:
        """The volume by the value of a tag, the largest first; without `OTHERS`."""
        value = self._grouped(f"tag:{key}")
        query = select(value.label("value"), *_sums()).where(*STORED).group_by(value).subquery()
        with self._database.reading() as session:
            rows = session.execute(_largest(select(query), query.c.size, query.c.value, most)).all()
        return [Sum(*each) for each in rows]

    def by_store_and_class(self, verified: datetime) -> list[InStore]:
        """The archives of each class in each store, and how many of them were not proven since `verified`."""
        size, old = cast(func.sum(SIZE), BigInteger), cast(func.sum(case((is_old(verified), 1), else_=0)), BigInteger)
        query = select(FileRecord.store, FileRecord.storage_class, func.count(), size, old).where(*STORED)
        with self._database.reading() as session:
            rows = session.execute(query.group_by(FileRecord.store, FileRecord.storage_class)).all()
        found = [InStore(str(store), name, number, total, few) for store, name, number, total, few in rows]
        return sorted(found, key=lambda each: (each.store, each.storage_class or ""))

    def _grouped(self, by: str) -> ColumnElement[Any]:
        return grouped(by, is_sqlite=self._database.is_sqlite)

    def _cube(self, limits: Limits) -> CTE:
        """The sums by all groups together, from which those by each are made: the archives are read once."""
        columns: Mapping[str, Any] = {
            **{each: self._grouped(each) for each in ("class", "store", "folder", "month")},
            "user": operations.c.user,
            "host": operations.c.host,
        }
        attention = {"old": is_old(limits.verified), "unlocks": unlocks(limits)}
        marked = [
            func.sum(case((condition, what), else_=0)).label(f"{name}_{unit}")
            for name, condition in attention.items()
            for unit, what in (("archives", literal(1)), ("size", SIZE))
        ]
        query = select(*(column.label(f"by_{name}") for name, column in columns.items()), *_sums(), *marked)
        query = query.select_from(FileRecord).where(*STORED)
        query = query.outerjoin(operations, operations.c.operation_id == FileRecord.operation_id)
        return query.group_by(*columns.values()).cte("cube")


def with_others(found: list[Sum], whole: Sum) -> list[Sum]:
    """The largest groups, and what is left of the `whole` as one more."""
    found = sorted(found, key=lambda each: (-each.size, each.group is None, each.group or ""))
    left = [total - sum(parts) for total, *parts in zip(whole[1:], *(each[1:] for each in found), strict=True)]
    return [*found, Sum(OTHERS, *left)] if left[0] > 0 else found


def _sums() -> tuple[ColumnElement[int], ColumnElement[int], ColumnElement[int]]:
    original = func.sum(func.coalesce(FileRecord.original_size, 0))
    return (
        func.count().label("archives"),
        cast(func.sum(SIZE), BigInteger).label("size"),
        cast(original, BigInteger).label("original_size"),
    )


def _part(cube: CTE, name: str, most: int | None, besides: str | None = None) -> Select[Any]:
    """The sums by one group of the cube, or by two; the largest `most` of them."""
    value = null() if name == "all" else cube.c[f"by_{name}"]
    other = null() if besides is None else cube.c[f"by_{besides}"]
    sums = ("archives", "size", "original_size", "old_archives", "old_size", "unlocks_archives", "unlocks_size")
    total = [cast(func.sum(cube.c[each]), BigInteger).label(each) for each in sums]
    query = select(literal(name).label("name"), value.label("value"), other.label("other"), *total)
    if name == "all":
        return query.having(func.count() > 0)
    query = query.group_by(value) if besides is None else query.group_by(value, other)
    if most is None:
        return query
    part = query.subquery()
    return select(_largest(select(part), part.c.size, part.c.value, most).subquery())


def _largest(query: Select[Any], size: Any, value: Any, most: int) -> Select[Any]:
    return query.order_by(size.desc(), value.is_(None), value).limit(most)
