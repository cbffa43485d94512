"""The members of archives: recorded in bulk, found one by one."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, CursorResult, Row, Select, and_, delete, func, or_, select, text
from sqlalchemy.orm import Session

from mgmt.catalog.db import bulk
from mgmt.catalog.db.conditions import among, beginning, containing, ending, named, starting
from mgmt.catalog.db.database import Database
from mgmt.catalog.files import member_filters
from mgmt.catalog.files import member_stretches as ranges
from mgmt.catalog.files.filters import FileFilter
from mgmt.catalog.files.name_index import NameIndex
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.member_tables import directories, directory_archives, member_ranges, members
from mgmt.catalog.records.types import display, exact, exact_bytes
from mgmt.errors import NotFoundError

BATCH = 1_000
"""Members in memory at a time, written by one statement: SQLite takes 32,766 values in one."""

FEW_ARCHIVES = 100
"""A search that no index of names helps reads the members of so many archives one by one, rather than all members."""

FEWEST = 100
"""Rows that PostgreSQL is asked for at least. For a dozen, it reads all members in their order, and hopes to meet
some that fit: of ten million it takes seconds to find none, for which the index of names takes a millisecond."""

COLUMNS = (
    "archive_id",
    "directory_id",
    "name",
    "name_bytes",
    "type",
    "mode",
    "size",
    "mtime_ns",
    "header_offset",
    "data_offset",
    "sha256",
    "link",
    "link_bytes",
)


class MemberFacts(Protocol):
    """What an archive says about a member. Names are `str` with surrogateescape, offsets are in the tar."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def mode(self) -> int: ...  # noqa: D102
    @property
    def mtime_ns(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def header_offset(self) -> int: ...  # noqa: D102
    @property
    def data_offset(self) -> int: ...  # noqa: D102
    @property
    def sha256(self) -> bytes | None: ...  # noqa: D102
    @property
    def link(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A member as it is recorded."""

    id: int
    archive_id: int
    path: str
    type: str
    mode: int
    size: int
    mtime_ns: int
    header_offset: int
    data_offset: int
    sha256: bytes | None
    link: str | None


_LAST_TAKEN = func.currval(func.pg_get_serial_sequence("members", "id"))
"""On PostgreSQL, the last id that this session took."""

_Found = list[tuple[MemberRecord, FileRecord]]
_ALL = FileFilter()


class Members:
    """Lists page by key: `after` is the id of the last member of the page before."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names = NameIndex(database)

    def record(self, archive_id: int, facts: Iterable[MemberFacts]) -> int:
        """Record the members of an archive, in place of earlier ones; returns how many. Memory use is constant.

        Inside a transaction of the caller they are committed with it.
        """
        with self._database.transaction() as session:
            session.flush()
            first, _, _, beyond = ranges.bounds(session, archive_id)
            fresh = first is None and not beyond  # as nearly always: there is nothing to make room for
            if not fresh:
                self._forget(session, archive_id)
                ranges.adopt(session)
            connection = session.connection()
            known = _Directories(connection, archive_id)
            before = self._last_id(session)
            count = 0
            remaining = iter(facts)
            while batch := list(islice(remaining, BATCH)):
                self._insert(connection, _values(archive_id, batch, known))
                count += len(batch)
            if count and fresh:
                last = before + count if self._database.is_sqlite else _LAST_TAKEN
                session.execute(member_ranges.insert().values(archive_id=archive_id, first_id=before + 1, last_id=last))
            elif count:
                ranges.extend(session, archive_id, before + 1, self._last_id(session))
            return count

    def list(
        self, archive_id: int, prefix: str | None = None, limit: int | None = 50, after: int | None = None
    ) -> list[MemberRecord]:
        """The members whose path begins with `prefix`, in the order of the archive."""
        query = _select().order_by(members.c.id).limit(limit)
        if prefix:
            folder, name = os.path.split(prefix)
            inside = and_(named(directories.c.path, directories.c.path_bytes, folder), starting(members.c.name, name))
            query = query.where(or_(starting(directories.c.path, prefix), inside))
        with self._database.reading() as session:
            return [_member(row) for row in session.execute(query.where(_of(session, archive_id, after)))]

    def inside(
        self, archive_id: int, folder: str, limit: int | None = 50, after: int | None = None
    ) -> Sequence[MemberRecord]:
        """The members directly in `folder` ("" is the top), in the order of the archive.

        It reads all members of the archive up to the last one that it returns.
        """
        known = select(directories.c.id).where(named(directories.c.path, directories.c.path_bytes, folder))
        with self._database.reading() as session:
            number = session.scalar(known)
            if number is None:
                return []
            query = _select().where(_of(session, archive_id, after), members.c.directory_id == number)
            return [_member(row) for row in session.execute(query.order_by(members.c.id).limit(limit))]

    def find(self, archive_id: int, path: str) -> MemberRecord:
        """The member with exactly this path. Raises NotFoundError if the archive has none."""
        folder, name = os.path.split(path)
        query = _select().where(
            named(directories.c.path, directories.c.path_bytes, folder),
            named(members.c.name, members.c.name_bytes, name),
        )
        with self._database.reading() as session:
            row = session.execute(query.where(_of(session, archive_id))).first()
        if row is None:
            raise NotFoundError(f"the archive has no member {path}", next_step="mgmt ls --members KEY")
        return _member(row)

    def search(
        self, keyword: str, limit: int | None = 50, after: int | None = None, *, only: FileFilter = _ALL
    ) -> _Found:
        """Members whose name contains `keyword`, in any case, each with its archive; those recorded last come first.

        A keyword with slashes is compared with the path, up to the name: `2023/img` finds photos/2023/IMG_1.jpg.
        `only` narrows them by status and tags of their archive, and by their own time of modification.
        """
        with self._database.reading() as session:
            rows: list[Row[Any]] = []
            for query in self._searches(session, keyword, after, only):
                left = None if limit is None else limit - len(rows)
                if left == 0:
                    break
                most = left if left is None or self._database.is_sqlite else max(left, FEWEST)
                rows += session.execute(query.limit(most)).all()[:left]
            found = [_member(row) for row in rows]
            wanted = select(FileRecord).where(FileRecord.id.in_({member.archive_id for member in found}))
            archives = {archive.id: archive for archive in session.scalars(wanted)}
        return [(member, archives[member.archive_id]) for member in found]

    def index_names(self) -> int:
        """Index names that were recorded, in short transactions of its own; returns how many were new.

        It takes about 2 s for a million members; if it is interrupted, the next call resumes. Members that are not
        indexed yet are found all the same, by a scan.
        """
        return self._names.catch_up()

    def _searches(self, session: Session, keyword: str, after: int | None, only: FileFilter) -> Iterator[Select[Any]]:
        """Queries that together, in this order, give every member that fits, each of them once."""
        folder, slash, name = keyword.rpartition("/")
        narrowed = _select().where(*member_filters.conditions(only))
        newest = narrowed.order_by(members.c.id.desc())
        if slash:
            ends = select(directories.c.id).where(directories.c.path != "", ending(directories.c.path, folder))
            inside = session.scalars(ends).all()
            newest = newest.where(among(members.c.directory_id, inside), beginning(members.c.name, name))
            archives = select(directory_archives.c.archive_id)
            archives = archives.where(among(directory_archives.c.directory_id, inside))
            yield from ranges.inside(newest, ranges.stretches(session, archives), after)
            return
        fits = containing(members.c.name, name)
        newest = newest.where(fits) if after is None else newest.where(fits, members.c.id < after)
        if not self._names.can_sift(name):
            few = ranges.within(session, only, FEW_ARCHIVES)
            yield from [newest] if few is None else ranges.inside(newest, few, after)
            return
        mark = self._names.mark(session)
        yield newest.where(members.c.id > mark)
        end = mark if after is None else min(mark, after - 1)
        yield from self._names.sift(session, narrowed.where(fits), name, end, ranges.within(session, only))

    def count(self, archive_id: int) -> int:
        """How many members of the archive are recorded."""
        with self._database.reading() as session:
            return session.scalar(select(func.count()).where(_of(session, archive_id))) or 0

    def _forget(self, session: Session, archive_id: int) -> None:
        removed: Any = session.execute(delete(members).where(_of(session, archive_id)))
        if removed.rowcount:
            self._names.lower(session)
            for table in (member_ranges, directory_archives):
                session.execute(delete(table).where(table.c.archive_id == archive_id))

    def _last_id(self, session: Session) -> int:
        """The upper bound of the ids in use: every later id is greater."""
        if self._database.is_sqlite:
            return session.scalar(select(func.coalesce(func.max(members.c.id), 0))) or 0
        # Concurrent transactions take ids too, so this takes one.
        return int(session.scalar(text("SELECT nextval(pg_get_serial_sequence('members', 'id'))")) or 0)

    def _insert(self, connection: Connection, values: tuple[Any, ...]) -> None:
        """Insert rows, whose values follow one another in `values`.

        SQLite needs two thirds of the time for one statement of many rows.
        """
        if self._database.is_sqlite:
            row = f"({', '.join('?' * len(COLUMNS))})"
            marks = ", ".join([row] * (len(values) // len(COLUMNS)))
            connection.exec_driver_sql(f"INSERT INTO members ({', '.join(COLUMNS)}) VALUES {marks}", values)  # noqa: S608
        else:
            bulk.insert(connection, "members", COLUMNS, list(zip(*[iter(values)] * len(COLUMNS), strict=True)))


class _Directories:
    """The ids of directories, cached. A tree is walked depth first, so the most recent ones matter."""

    KEPT = 10_000

    def __init__(self, connection: Connection, archive_id: int) -> None:
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"
        self._archive_id = archive_id
        self._ids: dict[str, int] = {}

    def ids_of(self, paths: set[str]) -> dict[str, int]:
        """The ids of all `paths`, and of some others; new paths are inserted."""
        if new := paths - self._ids.keys():
            if len(self._ids) + len(new) > self.KEPT:
                self._ids.clear()
                new = paths
            self._add(sorted(new))
        return self._ids

    def _add(self, paths: list[str]) -> None:
        names = [(display(path), exact_bytes(path)) for path in paths]
        self._run("INSERT INTO directories (path, path_bytes) VALUES (?, ?) ON CONFLICT DO NOTHING", names)
        plain = [shown for shown, raw in names if raw is None]
        hidden = [raw for _, raw in names if raw is not None]
        found = [*self._known("path_bytes IS NULL AND path", plain), *self._known("path_bytes", hidden)]
        ids = {exact(shown, raw): id_ for id_, shown, raw in found}
        pairs = [(ids[path], self._archive_id) for path in paths]
        self._run(
            "INSERT INTO directory_archives (directory_id, archive_id) VALUES (?, ?) ON CONFLICT DO NOTHING", pairs
        )
        self._ids |= ids

    def _known(self, column: str, names: Sequence[str | bytes]) -> Sequence[Any]:
        if not names:
            return []
        marks = ", ".join("?" * len(names))
        known = f"SELECT id, path, path_bytes FROM directories WHERE {column} IN ({marks})"  # noqa: S608
        return self._run(known, tuple(names)).all()

    def _run(self, statement: str, values: Any) -> CursorResult[Any]:
        """Without the ORM, which takes as long to build such a statement as SQLite takes for a hundred rows."""
        return self._connection.exec_driver_sql(statement if self._is_sqlite else statement.replace("?", "%s"), values)


def _values(archive_id: int, batch: list[MemberFacts], known: _Directories) -> tuple[Any, ...]:
    values: list[Any] = []
    paths = [fact.path.rpartition("/") for fact in batch]
    ids = known.ids_of({folder for folder, _, _ in paths})
    for fact, (folder, _, name) in zip(batch, paths, strict=True):
        link = fact.link
        values += (
            archive_id,
            ids[folder],
            display(name),
            exact_bytes(name),
            fact.type,
            fact.mode,
            fact.size,
            fact.mtime_ns,
            fact.header_offset,
            fact.data_offset,
            fact.sha256,
            None if link is None else display(link),
            None if link is None else exact_bytes(link),
        )
    return tuple(values)


def _of(session: Session, archive_id: int, after: int | None = None) -> ColumnElement[bool]:
    """It is a member of this archive, even if another program inserted it, and its id is greater than `after`.

    `after` is part of the range of ids, not another condition: SQLite might start from either.
    """
    first, last, end, beyond = ranges.bounds(session, archive_id)
    first, last = (end + 1, end) if first is None or last is None else (first, last)
    first = first if after is None else max(first, after + 1)
    return and_(members.c.id.between(first, max(last, beyond)), members.c.archive_id == archive_id)


def _select() -> Select[Any]:
    found = select(members, directories.c.path, directories.c.path_bytes)
    return found.join(directories, directories.c.id == members.c.directory_id)


def _member(row: Row[Any]) -> MemberRecord:
    folder, name = exact(row.path, row.path_bytes), exact(row.name, row.name_bytes)
    return MemberRecord(
        id=row.id,
        archive_id=row.archive_id,
        path=f"{folder}/{name}" if folder else name,
        type=row.type,
        mode=row.mode,
        size=row.size,
        mtime_ns=row.mtime_ns,
        header_offset=row.header_offset,
        data_offset=row.data_offset,
        sha256=row.sha256,
        link=None if row.link is None else exact(row.link, row.link_bytes),
    )
