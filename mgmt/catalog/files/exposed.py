"""Archives that need attention: damaged, deleted beside a copy, not verified for long, alone, or soon to expire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, and_, case, cast, exists, func, or_, select
from sqlalchemy.orm import aliased

from mgmt.catalog.db.database import Database
from mgmt.catalog.files.filters import WHEN
from mgmt.catalog.files.stored import SIZE, STORED
from mgmt.catalog.files.verdicts import changed_copies, faults, faulty
from mgmt.catalog.records.cold import RestoreRecord
from mgmt.catalog.records.enums import FileStatus, Location, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import operations
from mgmt.choices import NO_XATTRS


class Limits(NamedTuple):
    """What is old, and what ends soon."""

    verified: datetime
    """Archives that were proven before then, or never, or in which a fault was found since, are unverified."""
    now: datetime
    soon: datetime
    """What ends from now until then ends soon."""


class Listed(NamedTuple):
    """An archive in a list, or a copy."""

    id: int
    name: str
    key: str
    """Of a copy, its path."""
    store: str | None
    """None: it is a copy in completed/."""
    size: int
    at: datetime | None


class Few(NamedTuple):
    """How many archives there are of a kind, and the first of them."""

    archives: int
    size: int
    first: Sequence[Listed]


class Exposed:
    """Lists of the archives that are stored now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def damaged(self, first: int) -> Few:
        """Archives whose last verification found a fault, the first found first: `at` is when."""
        fault, found = faults().subquery(), operations.alias().c
        query = select(*_listed(func.coalesce(found.completed_at, found.started_at, type_=found.started_at.type)))
        query = query.join(fault, fault.c.file_id == FileRecord.id).join(found.seq.table, found.seq == fault.c.seq)
        return self._few(query.where(*STORED), fault.c.seq, first)

    def unarchived(self, first: int) -> Few:
        """Copies in completed/ of which no archive is stored that may hold all that they have, the oldest first."""
        archive = aliased(FileRecord)
        unknown = or_(archive.kept.is_(None), FileRecord.kept.is_(None))
        held = exists().where(archive.digest == FileRecord.digest, archive.location == Location.S3)
        held = held.where(archive.status == FileStatus.COMPLETED, or_(unknown, self._covers(archive, FileRecord)))
        copies = select(*_listed(WHEN)).where(FileRecord.location == Location.COMPLETED, ~held)
        return self._few(copies.where(FileRecord.status == FileStatus.COMPLETED), FileRecord.id, first)

    def alone(self, first: int) -> Few:
        """Archives beside which no other proven copy of all that they hold is known, the oldest first.

        A copy is one in completed/ that was not found changed, or another object that is proven and in which no fault
        was found since. An original that was kept is none: it may change at any time.
        """
        other = aliased(FileRecord)
        sound = and_(other.proof.is_not(None), other.archive_id != FileRecord.archive_id, other.id.not_in(faulty()))
        as_moved = and_(other.location == Location.COMPLETED, other.id.not_in(changed_copies()))
        is_copy = or_(as_moved, and_(other.location == Location.S3, sound))
        second = exists().where(other.digest == FileRecord.digest, other.id != FileRecord.id)
        second = second.where(other.status == FileStatus.COMPLETED, is_copy, self._covers(other, FileRecord))
        return self._few(select(*_listed(WHEN)).where(*STORED, ~second), FileRecord.id, first)

    def unverified(self, verified: datetime, first: int) -> list[Listed]:
        """Archives that are old by `verified`; those that never were come first, then the oldest."""
        query = select(*_listed(FileRecord.proven_at)).where(*STORED, is_old(verified))
        return self._first(query.order_by(FileRecord.proven_at.asc().nulls_first()), first)

    def unlocking(self, limits: Limits, first: int) -> list[Listed]:
        """Archives whose lock ends soon, the first to end first."""
        query = select(*_listed(FileRecord.locked_until)).where(*STORED, unlocks(limits))
        return self._first(query.order_by(FileRecord.locked_until), first)

    def refreezing(self, limits: Limits, first: int) -> Few:
        """Archives whose restored copy is gone soon, the first to go first."""
        key = RestoreRecord.store, RestoreRecord.s3_object_key, RestoreRecord.archive_id
        ends = select(*key, func.max(RestoreRecord.expires_at).label("at"))
        ends = ends.where(RestoreRecord.status == Status.SUCCESS, RestoreRecord.expires_at > limits.now)
        last = ends.group_by(*key).having(func.max(RestoreRecord.expires_at) <= limits.soon).subquery()
        same = and_(last.c.store == FileRecord.store, last.c.s3_object_key == FileRecord.path)
        own = or_(FileRecord.archive_id.is_(None), last.c.archive_id == FileRecord.archive_id)
        return self._few(select(*_listed(last.c.at)).join(last, and_(same, own)).where(*STORED), last.c.at, first)

    def _covers(self, holder: Any, held: Any) -> ColumnElement[bool]:
        """Whether `holder` keeps all that is kept of `held` besides its digest."""
        wanted, kept = func.coalesce(held.kept, ""), func.coalesce(holder.kept, "")
        tokens = " " + case((kept.like("%xattrs:%"), kept), else_=kept + f" {NO_XATTRS}") + " "
        at = func.instr if self._database.is_sqlite else func.strpos
        return or_(wanted == "", at(tokens, " " + wanted + " ") > 0)  # tokens are sorted

    def _few(self, query: Select[Any], order: Any, first: int) -> Few:
        listed = query.subquery()
        count = select(func.count(), cast(func.coalesce(func.sum(listed.c.size), 0), BigInteger)).select_from(listed)
        with self._database.reading() as session:
            archives, size = session.execute(count).one()
        return Few(archives, size, self._first(query.order_by(order), first) if archives else [])

    def _first(self, query: Select[Any], first: int) -> list[Listed]:
        with self._database.reading() as session:
            return [Listed(*each) for each in session.execute(query.order_by(FileRecord.id).limit(first))]


def is_old(verified: datetime) -> ColumnElement[bool]:
    """The archive was not proven since, or its last verification found a fault."""
    return or_(FileRecord.proven_at.is_(None), FileRecord.proven_at < verified, FileRecord.id.in_(faulty()))


def unlocks(limits: Limits) -> ColumnElement[bool]:
    """The lock of the archive ends soon."""
    return and_(FileRecord.locked_until > limits.now, FileRecord.locked_until <= limits.soon)


def _listed(at: Any) -> tuple[Any, ...]:
    return FileRecord.id, FileRecord.name, FileRecord.path, FileRecord.store, SIZE.label("size"), at
