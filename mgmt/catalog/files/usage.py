"""How much is stored, by storage class and by something else: what the costs are made of."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, case, cast, func, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.files.stored import AS_INDEXED, BILLED, SINCE, SIZE, STORED, grouped
from mgmt.catalog.records.enums import FileStatus, Role
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import OperationFile, operations

GROUPS = ("class", "store", "folder", "year")
"""What archives can be counted by, besides the value of a tag."""


class Share(NamedTuple):
    """The archives of one class in one group. Sizes are in bytes."""

    group: str | None
    storage_class: str | None
    archives: int
    size: int
    small: int
    """By how many bytes those smaller than `least` fall short of it."""
    members: int
    is_billed: bool = True
    """False: they are stored in directories, which have no price."""


class Recent(NamedTuple):
    """The archives of one class in one group that came into the class on one day."""

    group: str | None
    storage_class: str | None
    since: date
    archives: int
    size: int
    small: int


class Usage:
    """Sums over the archives that are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by(self, group: str, *, least: int) -> list[Share]:
        """The archives by `group`, one of `GROUPS` or `tag:KEY`, and by class.

        The order is that of the groups; archives in no group come last.
        """
        value = grouped(group, is_sqlite=self._database.is_sqlite)
        members = func.sum(func.coalesce(FileRecord.member_count, 0))
        billed = case((BILLED, 1), else_=0).label("billed")
        query = select(value, FileRecord.storage_class, *_sums(least), cast(members, BigInteger), billed)
        query = query.where(*_is_stored(group)).group_by(*_once(value, FileRecord.storage_class), billed)
        with self._database.reading() as session:
            rows = session.execute(query).all()
        found = [Share._make((_text(first), *rest, bool(billed))) for first, *rest, billed in rows]
        found.sort(key=lambda each: each.is_billed)
        return sorted(found, key=lambda each: (each.group is None, each.group or "", each.storage_class or ""))

    def old_versions(self, *, least: int) -> list[Share]:
        """The archives that were deleted, but remain as older versions in their buckets, by class. They have no group.

        Found by their deletions: a catalog has far fewer of those than files.
        """
        deleted = (
            select(OperationFile.file_id)
            .join(operations, operations.c.operation_id == OperationFile.operation_id)
            .where(operations.c.operation_type == "delete", OperationFile.role == Role.ARCHIVE)
        )
        members = func.sum(func.coalesce(FileRecord.member_count, 0))
        query = select(FileRecord.storage_class, *_sums(least), cast(members, BigInteger))
        query = query.where(FileRecord.id.in_(deleted), FileRecord.version_id.is_not(None))
        query = query.where(FileRecord.status == FileStatus.DELETED).group_by(FileRecord.storage_class)
        with self._database.reading() as session:
            rows = session.execute(query.order_by(FileRecord.storage_class)).all()
        return [Share(None, name, *rest) for name, *rest in rows]

    def since(self, moment: datetime, group: str, *, least: int) -> Sequence[Recent]:
        """The archives of stores with a price that came into their class after `moment`, by `group` and day."""
        value, day = grouped(group, is_sqlite=self._database.is_sqlite), func.date(SINCE)
        query = select(value, FileRecord.storage_class, day, *_sums(least)).where(BILLED)
        query = query.where(*_is_stored(group), moment <= SINCE).group_by(*_once(value, FileRecord.storage_class), day)
        with self._database.reading() as session:
            rows = session.execute(query).all()
        return [Recent(_text(first), name, date.fromisoformat(str(on)), *rest) for first, name, on, *rest in rows]


def _is_stored(group: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The condition of an archive that is stored. The index is in the order of classes only."""
    return AS_INDEXED if group == "class" else STORED


def _once(*columns: Any) -> list[Any]:
    """The columns without repetition: SQLite sorts again for one that it has in order already."""
    return [each for at, each in enumerate(columns) if not any(each is other for other in columns[:at])]


def _sums(least: int) -> list[ColumnElement[int]]:
    small = case((least > SIZE, least - SIZE), else_=0)
    return [func.count(), cast(func.sum(SIZE), BigInteger), cast(func.sum(small), BigInteger)]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
