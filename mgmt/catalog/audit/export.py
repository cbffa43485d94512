"""Export and import of the whole history as JSON Lines, between SQLite and PostgreSQL catalogs.

The first line is a header: `{"history": {"format": 1, "schema": "0007"}}`. Each line after it is a row,
`{"TABLE": {column: value}}`, without NULL columns, with values as in canonical.py. Rows refer only to earlier rows. At
the end, `finished` rows set the sha256 and the seal of operations, which makes them immutable. The last line has the
number and the sha256 of the lines before it, so that a truncated file is detected. The same history gives the same
bytes, from either database.

Capabilities of endpoints are not exported; they are probed again. An upload that was running at the time of the export
may have finished since, so it is imported without the parts and the index that it has in the store: only the other
catalog may remove those. `mgmt recover` asks the store whether its archive is complete.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import groupby, islice
from typing import Any, BinaryIO, cast

from sqlalchemy import Connection, LargeBinary, Table, bindparam, text
from sqlalchemy.exc import IntegrityError as ConstraintViolation

from mgmt.catalog.audit.canonical import UNHASHED, Facts, bytes_of, columns_of, dumps, plain_row, sub_tables
from mgmt.catalog.audit.verification import Verification
from mgmt.catalog.db.database import HEAD, Database
from mgmt.catalog.records.base import Base
from mgmt.catalog.records.enums import LIVE
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.catalog.records.types import UTCDateTime
from mgmt.errors import ConfigurationError, ConflictError, IntegrityError

FORMAT = 1
BATCH = 500
"""Rows that are held in memory at a time."""

_GZIP = b"\x1f\x8b"
_FINISHED = "finished"
_SEQUENCES = {"operations": "seq", "files": "id", "directories": "id", "members": "id"}
"""Columns that PostgreSQL numbers by itself; an import advances their sequences."""
_STORE_STATE = frozenset({"upload_id", "index_key"})
"""Columns of an upload that name what it may remove from its store while it is running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeResult:
    """The counts of an export or import, and how many rows of an import were new."""

    type: str = "exchange"
    operations: int
    files: int
    members: int
    seals: int
    lines: int
    new: int
    sha256: str
    """The sha256 of all lines but the last."""


def export(database: Database, out: BinaryIO, *, members: bool) -> ExchangeResult:
    """Write a snapshot of the history to `out`, without blocking writers and with bounded memory.

    Without `members` the contents of archives are omitted: `mgmt db rebuild` restores them from the indexes.
    """
    tally = Tally()
    with database.snapshot() as connection:
        out.write(tally.add({"history": {"format": FORMAT, "schema": HEAD}}))
        for table in _tables(members=members):
            for row in _rows(connection, table):
                out.write(tally.add({table.name: row}))
        for row in _finished(connection):
            out.write(tally.add({_FINISHED: row}))
    out.write(tally.last())
    return tally.result(new=0)


def compressed(out: BinaryIO) -> gzip.GzipFile:
    """A gzip writer into `out`, without file name and time, so that equal input gives equal bytes."""
    return gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0)


def import_history(database: Database, source: BinaryIO) -> ExchangeResult:
    """Add the history in `source`, gzipped or not, to the catalog, in one transaction.

    Rows that exist must be equal, and are not changed. Raises ConflictError if they differ, IntegrityError if `source`
    is damaged or does not match its seals, ConfigurationError if it is not an export, or from a newer mgmt.
    """
    with database.transaction() as session:
        connection = session.connection()
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        tally, new = Tally(), 0
        lines = _verified_lines(_open(source), tally)
        _check_header(next(lines, {}))
        live: set[str] = set()
        empty = {table.name for table in _tables(members=True) if _is_empty(connection, table)}
        for name, group in groupby(lines, key=lambda line: next(iter(line))):
            rows = (line[name] for line in group)
            while batch := list(islice(rows, BATCH)):
                new += _add(connection, name, batch, empty, live)
        for table, column in () if database.is_sqlite else _SEQUENCES.items():
            connection.execute(text(_ADVANCE_SEQUENCE.format(table=table, column=column)))
        for finding in Verification(database, ()).findings_in(connection):
            raise IntegrityError(
                f"the history does not match its seals: {finding.operation_id or finding.seal}: {finding.detail}",
                next_step="run `mgmt audit verify` on both catalogs",
            )
    return tally.result(new=new)


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

    def result(self, *, new: int) -> ExchangeResult:
        """The totals."""
        return ExchangeResult(
            operations=self.counts.get("operations", 0),
            files=self.counts.get("files", 0),
            members=self.counts.get("members", 0),
            seals=self.counts.get("seals", 0),
            lines=self.lines,
            new=new,
            sha256=self._sha256.hexdigest(),
        )


def _tables(*, members: bool) -> list[Table]:
    """The exported tables, ordered so that each refers only to earlier ones."""
    of_members = ["directories", "members", "member_ranges", "directory_archives"] if members else []
    of_operations = [table.name for table in sub_tables()]
    names = ["seals", "operations", *of_operations, "files", "operation_files", *of_members]
    return [Base.metadata.tables[name] for name in names]


def _rows(connection: Connection, table: Table) -> Iterator[Facts]:
    order = "seq" if table.name == "operations" else ", ".join(column.name for column in table.primary_key)
    rows = text(f"SELECT {columns_of(table, 't')} FROM {table.name} t ORDER BY {order}")  # noqa: S608
    for row in connection.execute(rows, execution_options={"yield_per": BATCH}):
        facts = plain_row(table, row)
        if table.name == "operations":
            yield {name: value for name, value in facts.items() if name not in UNHASHED}
        else:
            yield facts


def _finished(connection: Connection) -> Iterator[Facts]:
    rows = text("SELECT operation_id, sha256, seal FROM operations WHERE sha256 IS NOT NULL ORDER BY seq")
    for operation_id, digest, seal in connection.execute(rows, execution_options={"yield_per": BATCH}):
        yield {"operation_id": operation_id, "sha256": bytes(digest).hex(), "seal": seal}


def _line(value: Mapping[str, object]) -> bytes:
    return dumps(value).encode() + b"\n"


def _open(source: BinaryIO) -> BinaryIO:
    """Decompress if the content starts like gzip: standard input has no file name to tell."""
    head = source.read(2)
    joined = cast("BinaryIO", _Concatenated(head, source))
    return cast("BinaryIO", gzip.GzipFile(fileobj=joined, mode="rb")) if head == _GZIP else joined


class _Concatenated:
    """Reads `head` again, and then `rest`."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes."""
        head, self._head = self._head, b""
        if not head:
            return self._rest.read(size)
        if size < 0:
            return head + self._rest.read()
        self._head = head[size:]
        return head[:size]

    def __iter__(self) -> Iterator[bytes]:
        head, self._head = self._head, b""
        line = head if head.endswith(b"\n") else head + self._rest.readline()
        if line:
            yield line
        yield from self._rest


def _verified_lines(source: Iterable[bytes], tally: Tally) -> Iterator[dict[str, Any]]:
    """Yield all lines but the last, and check them against it."""
    try:
        for raw in source:
            line = json.loads(raw)
            (name,) = dict(line)
            if name == "end":
                if line["end"] != tally.end():
                    raise _corrupt("its last line does not match")
                return
            tally.note(raw, name)
            yield line
    except (ValueError, TypeError, EOFError, OSError, zlib.error) as error:
        raise _corrupt(f"line {tally.lines + 1} cannot be read") from error
    raise _corrupt("truncated")


def _check_header(line: Mapping[str, Any]) -> None:
    header = line.get("history")
    if not isinstance(header, dict):
        raise ConfigurationError("not an mgmt export", next_step="mgmt db export FILE")
    if header.get("format") != FORMAT or str(header.get("schema")) > HEAD:
        raise ConfigurationError(
            f"the export is from a newer mgmt: format {header.get('format')}, schema {header.get('schema')}",
            next_step="use a newer mgmt",
        )


def _add(connection: Connection, name: str, rows: Sequence[Facts], empty: set[str], live: set[str]) -> int:
    """Insert the new ones of `rows`; return their number."""
    if name == _FINISHED:
        return _finish(connection, rows)
    table = next((each for each in _tables(members=True) if each.name == name), None)
    if table is None or not all(isinstance(row, dict) and row.keys() <= set(table.c.keys()) for row in rows):
        raise ConfigurationError(
            f"the export is from a newer mgmt: unknown table or column in {name}", next_step="use a newer mgmt"
        )
    known = {} if name in empty else _known(connection, table, rows)
    keys = [column.name for column in table.primary_key]
    new = []
    for row in rows:
        existing = known.get(tuple(row.get(key) for key in keys))
        imported = _without_store_state(name, row, live)
        if existing is None:
            new.append({column.name: _value(column.type, imported.get(column.name)) for column in table.columns})
        elif existing not in (row, imported):
            raise _differs(name, [row.get(key) for key in keys])
    if new:
        try:
            connection.execute(table.insert(), new)
        except ConstraintViolation as error:
            raise ConflictError(
                f"the catalog already contains other {name} with the same keys: it has another history",
                next_step="import it into an empty catalog: mgmt --catalog URL db import FILE",
            ) from error
    return len(new)


def _without_store_state(name: str, row: Facts, live: set[str]) -> Facts:
    """The row to import. `live` collects the ids of operations that have not finished."""
    if name == "operations" and row.get("status") in LIVE:
        live.add(row["operation_id"])
    if name != UploadRecord.__tablename__ or row["operation_id"] not in live:
        return row
    return {column: value for column, value in row.items() if column not in _STORE_STATE}


def _known(connection: Connection, table: Table, rows: Sequence[Facts]) -> dict[tuple[object, ...], Facts]:
    """The rows that exist in the catalog, by key."""
    keys = [column.name for column in table.primary_key]
    query = text(f"SELECT {columns_of(table, 't')} FROM {table.name} t WHERE t.{keys[0]} IN :keys")  # noqa: S608
    query = query.bindparams(bindparam("keys", expanding=True))
    found: dict[tuple[object, ...], Facts] = {}
    for each in connection.execute(query, {"keys": list({row.get(keys[0]) for row in rows})}):
        facts = plain_row(table, each)
        if table.name == "operations":
            facts = {name: value for name, value in facts.items() if name not in UNHASHED}
        found[tuple(facts.get(key) for key in keys)] = facts
    return found


def _finish(connection: Connection, rows: Sequence[Facts]) -> int:
    """Set the hashes and seals of operations; return how many existing operations changed."""
    ids = [row["operation_id"] for row in rows]
    stored = {id_: (digest, seal) for id_, digest, seal in connection.execute(_HASHES, {"ids": ids})}
    changed, updates = 0, []
    for row in rows:
        wanted = bytes.fromhex(row["sha256"]), row["seal"]
        digest, seal = stored.get(row["operation_id"], (None, None))
        if (digest, seal) == wanted:
            continue
        if digest not in (None, wanted[0]) or seal is not None:
            raise _differs("operations", [row["operation_id"]])
        updates.append({"id": row["operation_id"], "sha256": wanted[0], "seal": wanted[1]})
        changed += digest is not None
    if updates:
        connection.execute(_FINISH, updates)
    return changed


_HASHES = text("SELECT operation_id, sha256, seal FROM operations WHERE operation_id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_FINISH = text(
    "UPDATE operations SET sha256 = coalesce(sha256, :sha256), seal = :seal WHERE operation_id = :id"
).bindparams(bindparam("sha256", type_=LargeBinary()))
_ADVANCE_SEQUENCE = (
    "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), greatest(nextval(pg_get_serial_sequence("
    "'{table}', '{column}')), (SELECT coalesce(max({column}), 1) FROM {table})))"
)


def _value(kind: object, plain: Any) -> Any:
    if isinstance(kind, UTCDateTime) and plain is not None:
        return datetime.fromisoformat(plain)
    return bytes_of(plain) if isinstance(kind, LargeBinary) else plain


def _is_empty(connection: Connection, table: Table) -> bool:
    return connection.execute(text(f"SELECT 1 FROM {table.name} LIMIT 1")).first() is None  # noqa: S608


def _differs(name: str, key: Sequence[object]) -> ConflictError:
    return ConflictError(
        f"{name} {'/'.join(map(str, key))} differs from the catalog: nothing was imported",
        next_step="export again while nothing is running, or compare both catalogs with `mgmt audit verify`",
    )


def _corrupt(why: str) -> IntegrityError:
    return IntegrityError(f"the export is damaged: {why}", next_step="run `mgmt db export` again")
