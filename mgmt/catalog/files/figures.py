"""Figures of the archives that are stored: their volume by group, and which of them need attention."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import aliased

from mgmt.catalog.db.conditions import tag_value
from mgmt.catalog.db.database import Database
from mgmt.catalog.db.times import month_of
from mgmt.catalog.files.filters import WHEN
from mgmt.catalog.records.cold import RestoreRecord
from mgmt.catalog.records.enums import FileStatus, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import operations

GROUPS = ("class", "store", "folder", "user", "host")
"""What the volume is counted by, besides the value of a tag."""

OTHERS = "(others)"
"""The name of what the groups past the largest ones have together."""

_STORED = (FileRecord.store.is_not(None), FileRecord.status != FileStatus.DELETED)


class Sum(NamedTuple):
    """Archives of one group. Sizes are in bytes."""

    group: str | None
    archives: int
    size: int
    original_size: int


class Listed(NamedTuple):
    """An archive in a list."""

    name: str
    key: str
    store: str
    size: int
    at: datetime | None
    what: str


class Few(NamedTuple):
    """How many archives there are of a kind, and the first of them."""

    archives: int
    size: int
    first: Sequence[Listed]


class Figures:
    """Sums over the archives that are stored now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_group(self, *, most: int) -> dict[str, list[Sum]]:
        """The volume by each of `GROUPS`, and altogether ("all") and by month ("month", all of them).

        The largest groups come first; those past `most` are one, `OTHERS`.
        """
        cube = self._cube()
        parts = [_part(cube, name, most) for name in GROUPS]
        parts += [_part(cube, "month", None), _part(cube, "all", None)]
        with self._database.reading() as session:
            rows = session.execute(union_all(*parts)).all()
        found: dict[str, list[Sum]] = {name: [] for name in (*GROUPS, "month", "all")}
        for name, *rest in rows:
            found[name].append(Sum(*rest))
        [whole] = found["all"] or [Sum(None, 0, 0, 0)]
        found["all"] = [whole]
        for name in GROUPS:
            found[name] = _with_others(found[name], whole, most)
        return found

    def by_month(self, since: datetime | None, until: datetime | None) -> list[Sum]:
        """The archives of a period, by month."""
        month = month_of(WHEN)
        query = select(month, *_sums()).where(*_STORED)
        if since is not None:
            query = query.where(since <= WHEN)
        if until is not None:
            query = query.where(until > WHEN)
        with self._database.reading() as session:
            return [Sum(*each) for each in session.execute(query.group_by(month).order_by(month))]

    def by_tag(self, key: str, *, most: int) -> list[Sum]:
        """The volume by the value of a tag, as `by_group`."""
        value = tag_value(FileRecord.tags, key)
        query = select(value.label("value"), *_sums()).where(*_STORED).group_by(value).subquery()
        whole = select(literal(None), *_sums()).where(*_STORED)
        with self._database.reading() as session:
            rows = session.execute(_largest(select(query), query.c.size, query.c.value, most)).all()
            [total] = session.execute(whole).all()
        return _with_others([Sum(*each) for each in rows], Sum(*total), most)

    def by_store_and_month(self) -> list[tuple[str, str, int]]:
        """The bytes in each store by the month in which they were archived."""
        month = month_of(WHEN)
        size = cast(func.sum(func.coalesce(FileRecord.size, 0)), BigInteger)
        query = select(FileRecord.store, month, size).where(*_STORED).group_by(FileRecord.store, month)
        with self._database.reading() as session:
            return [(str(store), str(on), size) for store, on, size in session.execute(query)]

    def by_store_and_class(self) -> list[tuple[str, str | None, int, int]]:
        """How many archives of each class are in each store, and their bytes; an index has all of that."""
        size = cast(func.sum(func.coalesce(FileRecord.size, 0)), BigInteger)
        query = select(FileRecord.store, FileRecord.storage_class, func.count(), size).where(*_STORED)
        with self._database.reading() as session:
            rows = session.execute(query.group_by(FileRecord.storage_class, FileRecord.store)).all()
        found = [(str(store), name, archives, total) for store, name, archives, total in rows]
        return sorted(found, key=lambda each: (each[0], each[1] or ""))

    def count_unverified(self, before: datetime) -> int:
        """How many archives were not proven since `before`."""
        old = or_(FileRecord.proven_at.is_(None), FileRecord.proven_at < before)
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(FileRecord).where(*_STORED, old)) or 0

    def single_copies(self, first: int) -> Few:
        """Archives beside which no other proven copy of the same content is known, the oldest first."""
        other = aliased(FileRecord)
        is_another = or_(
            other.store.is_(None), and_(other.proof.is_not(None), other.archive_id != FileRecord.archive_id)
        )
        covers = or_(other.kept == FileRecord.kept, func.coalesce(FileRecord.kept, "") == "")
        second = exists().where(other.digest == FileRecord.digest, other.id != FileRecord.id)
        second = second.where(other.status == FileStatus.COMPLETED, is_another, covers)
        return self._few(~second, WHEN, literal(""), first)

    def unverified(self, before: datetime, first: int) -> Few:
        """Archives that were not proven since `before`; those that never were come first, then the oldest."""
        old = or_(FileRecord.proven_at.is_(None), FileRecord.proven_at < before)
        return self._few(old, FileRecord.proven_at, literal(""), first)

    def unlocking(self, now: datetime, until: datetime, first: int) -> Few:
        """Archives whose lock ends by `until`, the first to end first."""
        ends = and_(FileRecord.locked_until > now, FileRecord.locked_until <= until)
        return self._few(ends, FileRecord.locked_until, literal("lock"), first)

    def refreezing(self, now: datetime, until: datetime, first: int) -> Few:
        """Archives whose restored copy is gone by `until`, the first to go first."""
        ends = select(
            RestoreRecord.store, RestoreRecord.s3_object_key, RestoreRecord.archive_id,
            func.max(RestoreRecord.expires_at).label("at"),
        )  # fmt: skip
        ends = ends.where(RestoreRecord.status == Status.SUCCESS, RestoreRecord.expires_at > now)
        last = ends.group_by(RestoreRecord.store, RestoreRecord.s3_object_key, RestoreRecord.archive_id).subquery()
        same = and_(last.c.store == FileRecord.store, last.c.s3_object_key == FileRecord.path)
        own = or_(FileRecord.archive_id.is_(None), last.c.archive_id == FileRecord.archive_id)
        return self._few(last.c.at <= until, last.c.at, literal("restore"), first, join=(last, and_(same, own)))

    def _few(self, condition: Any, at: Any, what: Any, first: int, join: Any = None) -> Few:
        size = func.coalesce(FileRecord.size, 0)
        count = select(func.count(), cast(func.coalesce(func.sum(size), 0), BigInteger)).where(*_STORED, condition)
        listed = select(FileRecord.name, FileRecord.path, FileRecord.store, size, at, what).where(*_STORED, condition)
        if join is not None:
            count, listed = (each.select_from(FileRecord).join(*join) for each in (count, listed))
        with self._database.reading() as session:
            archives, total = session.execute(count).one()
            order = at.asc().nulls_first(), FileRecord.id
            rows = session.execute(listed.order_by(*order).limit(first)).all() if archives else []
        return Few(archives, total, [Listed(*each) for each in rows])

    def _cube(self) -> CTE:
        """The sums by all groups together, from which those by each are made: the archives are read once."""
        at = func.instr if self._database.is_sqlite else func.strpos
        slash = at(FileRecord.path, "/")
        columns: Mapping[str, Any] = {
            "class": FileRecord.storage_class,
            "store": FileRecord.store,
            "folder": case((slash > 0, func.substr(FileRecord.path, 1, slash - 1)), else_=None),
            "month": month_of(WHEN),
            "user": operations.c.user,
            "host": operations.c.host,
        }
        query = select(*(column.label(f"by_{name}") for name, column in columns.items()), *_sums())
        query = query.select_from(FileRecord).where(*_STORED)
        query = query.outerjoin(operations, operations.c.operation_id == FileRecord.operation_id)
        return query.group_by(*columns.values()).cte("cube")


def _sums() -> tuple[ColumnElement[int], ColumnElement[int], ColumnElement[int]]:
    size, original = (func.sum(func.coalesce(each, 0)) for each in (FileRecord.size, FileRecord.original_size))
    return (
        func.count().label("archives"),
        cast(func.coalesce(size, 0), BigInteger).label("size"),
        cast(func.coalesce(original, 0), BigInteger).label("original_size"),
    )


def _part(cube: CTE, name: str, most: int | None) -> Select[Any]:
    value = null() if name == "all" else cube.c[f"by_{name}"]
    sums = [cast(func.sum(cube.c[each]), BigInteger).label(each) for each in ("archives", "size", "original_size")]
    query = select(literal(name).label("name"), value.label("value"), *sums)
    if name == "all":
        return query.having(func.count() > 0)
    query = query.group_by(value)
    if most is None:
        return query
    part = query.subquery()
    return select(_largest(select(part), part.c.size, part.c.value, most).subquery())


def _largest(query: Select[Any], size: Any, value: Any, most: int) -> Select[Any]:
    return query.order_by(size.desc(), value.is_(None), value).limit(most)


def _with_others(found: list[Sum], whole: Sum, most: int) -> list[Sum]:
    """The largest groups, and what is left of the `whole` as one."""
    found = sorted(found, key=lambda each: (-each.size, each.group is None, each.group or ""))
    left = whole.archives - sum(each.archives for each in found)
    if len(found) < most or not left:
        return found
    return [
        *found,
        Sum(
            OTHERS,
            left,
            whole.size - sum(each.size for each in found),
            whole.original_size - sum(each.original_size for each in found),
        ),
    ]
