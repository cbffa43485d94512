"""Which stored, proven archives hold given files: many files by one pass over the members, not one query for each.

There is no index of names, times or hashes (`records/member_tables.py`): a pass compares every member with a list of
values. The list is one bound parameter, so there is no temporary table, which a standby server does not allow.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import select, text

from mgmt.catalog.db.conditions import among
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import FileStatus, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.inspections import VerifyRecord
from mgmt.catalog.records.operations import OperationFile, OperationRecord
from mgmt.catalog.records.types import display, exact

ROWS = 1_000
"""Rows in memory at a time."""

_ARCHIVES = 10_000
"""Archives that one query looks up."""

_PREFIX = 6
"""Bytes of a hash that are compared: SQLite, which compares them as text, takes half the time of all 32."""


class By(StrEnum):
    """What members are compared by."""

    TIME = "time"
    """Files and hard links, by the time of modification, in nanoseconds."""
    SHA256 = "sha256"
    """Files, by the sha256 of their content; also a few whose hashes only begin alike."""
    LINK = "link"
    """Symbolic links, by their target."""
    NAME = "name"
    """All but folders, by the last part of their path."""


class Held(NamedTuple):
    """A member of a stored, proven archive, whose record has the id `archive_id`."""

    archive_id: int
    folder: str
    name: str
    type: str
    size: int
    mtime_ns: int
    sha256: bytes | None
    link: str | None


class Holder(NamedTuple):
    """An archive: its URL, and the id that tells its object from all others (None if it is not known)."""

    url: str
    identity: str | None


_COLUMNS = (
    "m.archive_id, d.path, d.path_bytes, m.name, m.name_bytes, m.type, m.size, m.mtime_ns, m.sha256, m.link, "
    "m.link_bytes"
)
_MATCHES = {
    By.TIME: ("m.type IN ('f', 'h')", "m.mtime_ns", "CAST(value AS bigint)"),
    By.SHA256: ("m.type = 'f'", f"substr(m.sha256, 1, {_PREFIX})", "decode(value, 'hex')"),
    By.LINK: ("m.type = 'l'", "m.link", "value"),
    By.NAME: ("m.type <> 'd'", "m.name", "value"),
}
"""Which members are compared, what of them, and with what on PostgreSQL."""

_LISTED_ON_SQLITE = "SELECT value FROM json_each(:wanted)"
_LISTED_ON_POSTGRESQL = "SELECT {} FROM json_array_elements_text(CAST(:wanted AS json)) AS given(value)"


class Holdings:
    """Only archives count that are stored and proven, and that no verification has since found missing or damaged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, by: By, values: Collection[int | str | bytes]) -> Iterator[Held]:
        """Members with one of `values`, archive by archive in the order of the tar; texts are compared as displayed.

        All members are read once, however many values there are; memory grows with the values. Raises CatalogError.
        """
        if not values:
            return
        doubtful = self._doubtful()
        with self._database.snapshot() as connection:
            rows = connection.execute(
                text(self._statement(by)), {"wanted": _as_json(values)}, execution_options={"yield_per": ROWS}
            )
            for row in rows:
                if row[0] not in doubtful:
                    yield _held(row)

    def archives(self, ids: Iterable[int]) -> dict[int, Holder]:
        """The archives with these ids of records that are stored now."""
        found: dict[int, Holder] = {}
        remaining = iter(ids)
        columns = select(FileRecord.id, FileRecord.store, FileRecord.s3_object_key, FileRecord.archive_id)
        stored = columns.where(FileRecord.status == FileStatus.COMPLETED)
        with self._database.reading() as session:
            while batch := list(islice(remaining, _ARCHIVES)):
                for id_, store, key, identity in session.execute(stored.where(among(FileRecord.__table__.c.id, batch))):
                    found[id_] = Holder(f"{store}/{key}", identity)
        return found

    def _statement(self, by: By) -> str:
        kind, column, value = _MATCHES[by]
        listed = _LISTED_ON_POSTGRESQL.format(value)
        if self._database.is_sqlite:
            column, listed = f"hex({column})" if by is By.SHA256 else column, _LISTED_ON_SQLITE
        # SQLite reads the tables of a CROSS JOIN in this order: members first, and the rest only of those that match.
        # PostgreSQL does not know how long the list is, and might compare each member with all of it: because of IS
        # TRUE it is not joined, but hashed.
        return (
            f"SELECT {_COLUMNS} FROM members m CROSS JOIN files f CROSS JOIN directories d "  # noqa: S608
            f"WHERE {kind} AND ({column} IN ({listed})) IS TRUE AND f.id = m.archive_id AND d.id = m.directory_id "
            "AND f.status = 'completed' AND f.proof IS NOT NULL ORDER BY m.archive_id, m.id"
        )

    def _doubtful(self) -> set[int]:
        """The archives that a verification has found missing or damaged after they were last proven."""
        failed = (
            select(OperationFile.file_id, VerifyRecord.details)
            .join(VerifyRecord, VerifyRecord.operation_id == OperationFile.operation_id)
            .join(FileRecord, FileRecord.id == OperationFile.file_id)
            .where(OperationRecord.status == Status.FAILED, OperationRecord.completed_at >= FileRecord.proven_at)
        )
        with self._database.reading() as session:
            return {file_id for file_id, details in session.execute(failed) if "problem" in details}


def _as_json(values: Collection[int | str | bytes]) -> str:
    """A list, as SQLite and PostgreSQL read it: hashes in hex, as SQLite writes it, and texts as they are stored.

    It is sorted, as the index that SQLite makes of it is built faster then.
    """
    return json.dumps(sorted(map(_plain, values)))


def _plain(value: int | str | bytes) -> int | str:
    if isinstance(value, bytes):
        return value[:_PREFIX].hex().upper()
    return display(value) if isinstance(value, str) else value


def _held(row: Any) -> Held:
    archive_id, folder, folder_bytes, name, name_bytes, kind, size, mtime_ns, sha256, link, link_bytes = row
    target = None if link is None else exact(link, link_bytes)
    return Held(archive_id, exact(folder, folder_bytes), exact(name, name_bytes), kind, size, mtime_ns, sha256, target)
