"""Export of the whole history as JSON Lines; import_history.py adds it to another catalog, SQLite or PostgreSQL.

The first line is a header: `{"history": {"format": 1, "schema": "0011"}}`. Each line after it is a row,
`{"TABLE": {column: value}}`, without NULL columns, with values as in canonical.py. Rows refer only to earlier rows. At
the end, `finished` rows set the sha256 and the seal of operations, which makes them immutable. The last line has the
number and the sha256 of the lines before it, so that a truncated file is detected. The same history gives the same
bytes, from either database. Capabilities of endpoints are not exported; they are probed again.

Jobs, what they wait for, and schedules go along, without what is true only where they are: which process has taken a
job, and whether it is held. Notifications stay, as they are delivered from here.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO

from sqlalchemy import Connection, Table, text

from mgmt.catalog.audit.canonical import UNHASHED, Facts, columns_of, dumps, plain_row, sub_tables
from mgmt.catalog.db.database import Database
from mgmt.catalog.db.revision import HEAD
from mgmt.catalog.records.jobs import LEFT_TO_DO
from mgmt.catalog.records.metadata import METADATA

FORMAT = 1
BATCH = 500
"""Rows that are held in memory at a time."""
FINISHED = "finished"

UNEXPORTED: Mapping[str, frozenset[str]] = {
    "operations": UNHASHED,
    "jobs": frozenset({"taken_by", "held"}),
    "schedules": frozenset({"paused"}),
}
"""Columns that are not exported with their row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeResult:
    """The counts of an export or import, and how many rows of an import were new or updated."""

    type: str = "exchange"
    operations: int
    files: int
    members: int
    seals: int
    jobs: int
    schedules: int
    lines: int
    new: int
    updated: int = 0
    sha256: str
    """The sha256 of all lines but the last."""


def export(database: Database, out: BinaryIO, *, members: bool) -> ExchangeResult:
    """Write a snapshot of the history to `out`, without blocking writers and with bounded memory.

    Without `members` the contents of archives are omitted: `mgmt db rebuild` restores them from the indexes.
    """
    tally = Tally()
    with database.snapshot() as connection:
        out.write(tally.add({"history": {"format": FORMAT, "schema": HEAD}}))
        for table in exported_tables(members=members):
            for row in _rows(connection, table):
                out.write(tally.add({table.name: row}))
        for row in _finished(connection):
            out.write(tally.add({FINISHED: row}))
    out.write(tally.last())
    return tally.result(new=0)


def compressed(out: BinaryIO) -> gzip.GzipFile:
    """A gzip writer into `out`, without file name and time, so that equal input gives equal bytes."""
    return gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0)


class Tally:
    """Counts and hashes lines."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.lines = 0
        self._sha256 = sha256()

    def add(self, line: Mapping[str, object]) -> bytes:
        """Encode and count a line; return its bytes."""
        self.note(raw := _line(line), next(iter(line)))
        return raw

    def note(self, raw: bytes, name: str) -> None:
        """Count a line that was read or encoded."""
        self.counts[name] = self.counts.get(name, 0) + 1
        self.lines += 1
        self._sha256.update(raw)

    def last(self) -> bytes:
        """The last line of the file."""
        return _line({"end": self.end()})

    def end(self) -> dict[str, object]:
        """The content of the last line."""
        return {"lines": self.lines, "sha256": self._sha256.hexdigest()}

    def result(self, *, new: int, updated: int = 0) -> ExchangeResult:
        """The totals."""
        return ExchangeResult(
            operations=self.counts.get("operations", 0),
            files=self.counts.get("files", 0),
            members=self.counts.get("members", 0),
            seals=self.counts.get("seals", 0),
            jobs=self.counts.get("jobs", 0),
            schedules=self.counts.get("schedules", 0),
            lines=self.lines,
            new=new,
            updated=updated,
            sha256=self._sha256.hexdigest(),
        )


def exported_tables(*, members: bool) -> list[Table]:
    """The exported tables, ordered so that each refers only to earlier ones."""
    of_members = ["directories", "members", "member_ranges", "directory_archives"] if members else []
    of_operations = [table.name for table in sub_tables()]
    names = ["seals", "operations", *of_operations, "files", "operation_files", *of_members]
    names += [name for name in LEFT_TO_DO if name != "outbox"]
    return [METADATA.tables[name] for name in names]


def exported_row(table: Table, row: Sequence[Any]) -> Facts:
    """The exported values of a row, selected with `columns_of`."""
    left_out = UNEXPORTED.get(table.name, frozenset())
    return {name: value for name, value in plain_row(table, row).items() if name not in left_out}


def _rows(connection: Connection, table: Table) -> Iterator[Facts]:
    order = "seq" if table.name == "operations" else ", ".join(column.name for column in table.primary_key)
    rows = text(f"SELECT {columns_of(table, 't')} FROM {table.name} t ORDER BY {order}")  # noqa: S608
    for row in connection.execute(rows, execution_options={"yield_per": BATCH}):
        yield exported_row(table, row)


def _finished(connection: Connection) -> Iterator[Facts]:
    rows = text("SELECT operation_id, sha256, seal FROM operations WHERE sha256 IS NOT NULL ORDER BY seq")
    for operation_id, digest, seal in connection.execute(rows, execution_options={"yield_per": BATCH}):
        yield {"operation_id": operation_id, "sha256": bytes(digest).hex(), "seal": seal}


def _line(value: Mapping[str, object]) -> bytes:
    return dumps(value).encode() + b"\n"
