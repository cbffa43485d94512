"""What the catalog knows of where contents are, for a page of files at a time."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, TypeVar

from sqlalchemy import case, func, select

from mgmt.catalog.db.conditions import among
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import FileStatus, Location
from mgmt.catalog.records.files import FileRecord

MOST_COPIES = 20
"""Records of one content and location that are looked at, the newest: an empty file may be archived a million times."""

PART = 500
"""Files whose facts are asked for in one query."""

Item = TypeVar("Item")


class KnownCopy(NamedTuple):
    """What is recorded of one copy of a content. Sizes are left out: they prove nothing."""

    id: int
    location: Location
    host: str | None
    store: str | None
    path: str
    status: FileStatus
    mime_type: str | None
    s3_object_key: str | None
    archive_id: str | None
    digest: str | None
    kept: str | None
    storage_class: str | None
    object_checksum: str | None
    proof: str | None
    proven_at: datetime | None
    version_id: str | None


class KnownCopies:
    """Copies of contents, as recorded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def numbered(self, files: Collection[int]) -> list[KnownCopy]:
        """The files with these numbers, in any order."""
        columns = [getattr(FileRecord, name) for name in KnownCopy._fields]
        query = select(*columns).where(among(FileRecord.id.expression, list(files)))
        with self._database.reading() as session:
            return [KnownCopy(*row) for row in session.execute(query)] if files else []

    def of(self, digests: Collection[str]) -> dict[str, list[KnownCopy]]:
        """The records with each of these digests, deleted ones included; the newest first, `MOST_COPIES` of a kind."""
        columns = [getattr(FileRecord, name) for name in KnownCopy._fields]
        is_deleted = case((FileRecord.status == FileStatus.DELETED, 1), else_=0)
        kind = (FileRecord.digest, FileRecord.location, is_deleted)
        number = func.row_number().over(partition_by=kind, order_by=FileRecord.id.desc()).label("number")
        found: dict[str, list[KnownCopy]] = {}
        with self._database.reading() as session:
            for some in in_parts(sorted(digests)):
                numbered = select(*columns, number).where(FileRecord.digest.in_(some)).subquery()
                query = select(*list(numbered.c)[:-1]).where(numbered.c.number <= MOST_COPIES)
                for row in session.execute(query.order_by(numbered.c.id.desc())):
                    copy = KnownCopy(*row)
                    found.setdefault(str(copy.digest), []).append(copy)
        return found


def in_parts(items: Iterable[Item]) -> Iterator[Sequence[Item]]:
    """`items` in lists of `PART`."""
    rest = iter(items)
    while part := list(islice(rest, PART)):
        yield part
