"""The members of archives: written a million at a time, found again one by one."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from sqlalchemy import Connection, Row, Select, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from mgmt.catalog.columns import display, exact, exact_bytes
from mgmt.catalog.database import Database
from mgmt.catalog.models import FileRecord
from mgmt.catalog.names import NameIndex
from mgmt.catalog.queries import beginning, containing, ending, named, starting
from mgmt.catalog.tables import directories, members
from mgmt.errors import NotFoundError

BATCH = 2_000
"""Members that are in memory at a time."""

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
    """What there is to know of a member. Names are `str` with surrogateescape, offsets are in the tar."""

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
    """A member as the catalog has it."""

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


_Found = list[tuple[MemberRecord, FileRecord]]


class Members:
    """Lists page by key: `after` is the id of the last member of the page before."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names = NameIndex(database)

    def record(self, archive_id: int, facts: Iterable[MemberFacts]) -> int:
        """Write down the members of an archive, in place of those it had; returns how many. Memory stays flat.

        Inside a transaction of the caller's they are committed with it.
        """
        with self._database.transaction() as session:
            session.flush()
            session.execute(delete(members).where(members.c.archive_id == archive_id))
            self._names.lower(session)
            connection = session.connection()
            mark = "?" if self._database.is_sqlite else "%s"
            insert = f"INSERT INTO members ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"  # noqa: S608
            rows = _rows(archive_id, facts, _Directories(connection))
            count = 0
            while batch := list(islice(rows, BATCH)):
                connection.exec_driver_sql(insert, batch)
                count += len(batch)
            return count

    def list(
        self, archive_id: int, prefix: str | None = None, limit: int | None = 50, after: int | None = None
    ) -> list[MemberRecord]:
        """The members whose path begins with `prefix`, in the order of the archive."""
        query = _select().where(members.c.archive_id == archive_id).order_by(members.c.id).limit(limit)
        if prefix:
            folder, name = os.path.split(prefix)
            inside = and_(named(directories.c.path, directories.c.path_bytes, folder), starting(members.c.name, name))
            query = query.where(or_(starting(directories.c.path, prefix), inside))
        if after is not None:
            query = query.where(members.c.id > after)
        with self._database.reading() as session:
            return [_member(row) for row in session.execute(query)]

    def find(self, archive_id: int, path: str) -> MemberRecord:
        """The member of this exact path. Raises NotFoundError when the archive has none."""
        folder, name = os.path.split(path)
        query = _select().where(
            members.c.archive_id == archive_id,
            named(directories.c.path, directories.c.path_bytes, folder),
            named(members.c.name, members.c.name_bytes, name),
        )
        with self._database.reading() as session:
            row = session.execute(query).first()
        if row is None:
            raise NotFoundError(f"the archive has no member {path}", next_step="mgmt ls --members KEY")
        return _member(row)

    def search(self, keyword: str, limit: int | None = 50, after: int | None = None) -> _Found:
        """Members whose name contains `keyword`, in any case, each with its archive; those recorded last come first.

        A keyword with slashes in it is held against the path, up to the name: `2023/img` finds photos/2023/IMG_1.jpg.
        """
        with self._database.reading() as session:
            rows: list[Row[Any]] = []
            for query in self._searches(session, keyword, after):
                left = None if limit is None else limit - len(rows)
                rows += session.execute(query.limit(left)).all()
            found = [_member(row) for row in rows]
            wanted = select(FileRecord).where(FileRecord.id.in_({member.archive_id for member in found}))
            archives = {archive.id: archive for archive in session.scalars(wanted)}
        return [(member, archives[member.archive_id]) for member in found]

    def index_names(self) -> int:
        """Make what was recorded quick to search, in short transactions of its own; returns how many names were new.

        It takes some 6 s for a million members, may be cut off anywhere, and goes on from there. Until then, and
        without it, they are found all the same, by looking at each.
        """
        return self._names.catch_up()

    def _searches(self, session: Session, keyword: str, after: int | None) -> Iterator[Select[Any]]:
        """Queries that together, one after the other, give all there is."""
        folder, slash, name = keyword.rpartition("/")
        fits = containing(members.c.name, name)
        if slash:
            inside = select(directories.c.id).where(directories.c.path != "", ending(directories.c.path, folder))
            fits = and_(members.c.directory_id.in_(inside), beginning(members.c.name, name))
        newest = _select().where(fits).order_by(members.c.id.desc())
        if after is not None:
            newest = newest.where(members.c.id < after)
        if not self._names.can_sift(name):
            yield newest
            return
        mark = self._names.mark(session)
        yield newest.where(members.c.id > mark)
        yield self._names.sift(_select().where(fits), name, mark if after is None else min(mark, after - 1))

    def count(self, archive_id: int) -> int:
        """How many members of the archive are recorded."""
        with self._database.reading() as session:
            return session.scalar(select(func.count()).where(members.c.archive_id == archive_id)) or 0


class _Directories:
    """The ids of directories. A tree is walked depth first, so the ones that matter are the last ones asked for."""

    KEPT = 10_000

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids: dict[str, int] = {}

    def id_of(self, path: str) -> int:
        found = self._ids.get(path)
        if found is None:
            if len(self._ids) >= self.KEPT:
                self._ids.clear()
            found = self._ids[path] = self._stored(path)
        return found

    def _stored(self, path: str) -> int:
        known = select(directories.c.id).where(named(directories.c.path, directories.c.path_bytes, path))
        found = self._connection.scalar(known)
        if found is None:
            new = directories.insert().values(path=path, path_bytes=exact_bytes(path)).returning(directories.c.id)
            found = self._connection.scalar(new)
        return int(found)


def _rows(archive_id: int, facts: Iterable[MemberFacts], known: _Directories) -> Iterator[tuple[Any, ...]]:
    for fact in facts:
        folder, _, name = fact.path.rpartition("/")
        link = fact.link
        yield (
            archive_id,
            known.id_of(folder),
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
