"""The whole history as JSON Lines, out of one catalog and into another, SQLite or PostgreSQL.

The first line says what it is: `{"history": {"format": 1, "schema": "0008"}}`. Each line after that is a row,
`{"TABLE": {column: value}}`, without the columns that are NULL, with values as in canonical.py. Rows come in an order
in which each refers only to what came before; at last `finished` rows give back the sha256 and the seal of operations,
which nobody can change from then on. The last line counts the others, and has their sha256: a file that was cut off is
not taken for a short history. The same history is the same bytes, whichever database it comes from.

What endpoints were seen to do is left out: it is no history, and is seen again. An upload that had not ended when it
was exported may have ended since, or go on: it comes in without what it has in hand in the store (parts, an index), as
that is another catalog's to remove. Whether its archive is complete, only the store can tell.
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
from sqlalchemy.exc import IntegrityError as Refused

from mgmt.catalog.audit.canonical import NOT_SAID, Facts, bytes_of, columns_of, dumps, plain_row, sub_tables
from mgmt.catalog.audit.verification import Verification
from mgmt.catalog.db.database import HEAD, Database
from mgmt.catalog.records.base import Base
from mgmt.catalog.records.enums import LIVE
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.catalog.records.types import UTCDateTime
from mgmt.errors import ConfigurationError, ConflictError, IntegrityError

FORMAT = 1
BATCH = 500
"""Rows that are in memory at a time."""

_GZIP = b"\x1f\x8b"
_FINISHED = "finished"
_COUNTED = {"operations": "seq", "files": "id", "directories": "id", "members": "id"}
"""What PostgreSQL counts by itself, and must go on counting from what was brought in."""
_IN_HAND = frozenset({"upload_id", "index_key"})
"""What an upload that has not ended may remove from its store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """How much there was, and on the way in how much of it was new."""

    type: str = "exchange"
    operations: int
    files: int
    members: int
    seals: int
    lines: int
    new: int
    sha256: str
    """Of all lines but the last."""


def export(database: Database, out: BinaryIO, *, members: bool) -> Exchanged:
    """Write the history to `out`, as it is at one moment; others go on writing, and memory stays flat.

    Without `members` what archives hold is left out: `mgmt db rebuild` gives it back from their indexes.
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
    return tally.exchanged(new=0)


def compressed(out: BinaryIO) -> gzip.GzipFile:
    """A file that compresses into `out`, without its name and the time, so that the same is the same."""
    return gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0)


def bring_in(database: Database, source: BinaryIO) -> Exchanged:
    """Add the history in `source`, compressed or not, to the catalog: all of it, or nothing.

    What the catalog has already must be the same, and is left alone. Raises ConflictError when it differs,
    IntegrityError when `source` is not whole, or what it tells is not what was sealed, ConfigurationError when it is no
    history, or of a newer mgmt.
    """
    with database.transaction() as session:
        connection = session.connection()
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        tally, new = Tally(), 0
        lines = _checked(_opened(source), tally)
        _check_header(next(lines, {}))
        under_way: set[str] = set()
        empty = {table.name for table in _tables(members=True) if _is_empty(connection, table)}
        for name, group in groupby(lines, key=lambda line: next(iter(line))):
            rows = (line[name] for line in group)
            while batch := list(islice(rows, BATCH)):
                new += _add(connection, name, batch, empty, under_way)
        for table, column in () if database.is_sqlite else _COUNTED.items():
            connection.execute(text(_COUNT_ON.format(table=table, column=column)))
        for finding in Verification(database, ()).findings_of(connection):
            raise IntegrityError(
                f"the history is not what was sealed: {finding.operation_id or finding.seal}: {finding.detail}",
                next_step="mgmt audit verify, where it comes from and here",
            )
    return tally.exchanged(new=new)


class Tally:
    """Counts lines, and hashes them."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.lines = 0
        self._sha256 = sha256()

    def add(self, line: Mapping[str, object]) -> bytes:
        """The line as it is written."""
        self.note(raw := _line(line), next(iter(line)))
        return raw

    def note(self, raw: bytes, name: str) -> None:
        """Count what was read."""
        self.counts[name] = self.counts.get(name, 0) + 1
        self.lines += 1
        self._sha256.update(raw)

    def last(self) -> bytes:
        """The line that ends it."""
        return _line({"end": self.end()})

    def end(self) -> dict[str, object]:
        """What that line says."""
        return {"lines": self.lines, "sha256": self._sha256.hexdigest()}

    def exchanged(self, *, new: int) -> Exchanged:
        """All of it together."""
        return Exchanged(
            operations=self.counts.get("operations", 0),
            files=self.counts.get("files", 0),
            members=self.counts.get("members", 0),
            seals=self.counts.get("seals", 0),
            lines=self.lines,
            new=new,
            sha256=self._sha256.hexdigest(),
        )


def _tables(*, members: bool) -> list[Table]:
    """In an order in which each refers only to those before it."""
    inside = ["directories", "members", "member_ranges", "directory_archives"] if members else []
    parts = [table.name for table in sub_tables()]
    names = ["seals", "operations", *parts, "files", "operation_files", *inside]
    return [Base.metadata.tables[name] for name in names]


def _rows(connection: Connection, table: Table) -> Iterator[Facts]:
    order = "seq" if table.name == "operations" else ", ".join(column.name for column in table.primary_key)
    rows = text(f"SELECT {columns_of(table, 't')} FROM {table.name} t ORDER BY {order}")  # noqa: S608
    for row in connection.execute(rows, execution_options={"yield_per": BATCH}):
        facts = plain_row(table, row)
        if table.name == "operations":
            yield {name: value for name, value in facts.items() if name not in NOT_SAID}
        else:
            yield facts


def _finished(connection: Connection) -> Iterator[Facts]:
    rows = text("SELECT operation_id, sha256, seal FROM operations WHERE sha256 IS NOT NULL ORDER BY seq")
    for operation_id, digest, seal in connection.execute(rows, execution_options={"yield_per": BATCH}):
        yield {"operation_id": operation_id, "sha256": bytes(digest).hex(), "seal": seal}


def _line(value: Mapping[str, object]) -> bytes:
    return dumps(value).encode() + b"\n"


def _opened(source: BinaryIO) -> BinaryIO:
    """What is compressed is seen by how it begins: standard input has no name."""
    head = source.read(2)
    joined = cast("BinaryIO", _Joined(head, source))
    return cast("BinaryIO", gzip.GzipFile(fileobj=joined, mode="rb")) if head == _GZIP else joined


class _Joined:
    """What was read already, and the rest."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; fewer only at the end, or at the beginning."""
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


def _checked(source: Iterable[bytes], tally: Tally) -> Iterator[dict[str, Any]]:
    """The lines before the last, which must tell of them what is so."""
    try:
        for raw in source:
            line = json.loads(raw)
            (name,) = dict(line)
            if name == "end":
                if line["end"] != tally.end():
                    raise _spoilt("its last line tells of other lines")
                return
            tally.note(raw, name)
            yield line
    except (ValueError, TypeError, EOFError, OSError, zlib.error) as error:
        raise _spoilt(f"line {tally.lines + 1} cannot be read") from error
    raise _spoilt("its end is missing")


def _check_header(line: Mapping[str, Any]) -> None:
    header = line.get("history")
    if not isinstance(header, dict):
        raise ConfigurationError("this is no history of mgmt", next_step="mgmt db export FILE")
    if header.get("format") != FORMAT or str(header.get("schema")) > HEAD:
        raise ConfigurationError(
            f"this history is of a newer mgmt: format {header.get('format')}, schema {header.get('schema')}",
            next_step="use a newer mgmt",
        )


def _add(connection: Connection, name: str, rows: Sequence[Facts], empty: set[str], under_way: set[str]) -> int:
    """Insert what is new of `rows`; returns how many that were."""
    if name == _FINISHED:
        return _finish(connection, rows)
    table = next((each for each in _tables(members=True) if each.name == name), None)
    if table is None or not all(isinstance(row, dict) and row.keys() <= set(table.c.keys()) for row in rows):
        raise ConfigurationError(f"this history is of a newer mgmt: {name} is not known", next_step="use a newer mgmt")
    known = {} if name in empty else _known(connection, table, rows)
    keys = [column.name for column in table.primary_key]
    new = []
    for row in rows:
        there = known.get(tuple(row.get(key) for key in keys))
        taken_in = _empty_handed(name, row, under_way)
        if there is None:
            new.append({column.name: _value(column.type, taken_in.get(column.name)) for column in table.columns})
        elif there not in (row, taken_in):
            raise _differs(name, [row.get(key) for key in keys])
    if new:
        try:
            connection.execute(table.insert(), new)
        except Refused as error:
            raise ConflictError(
                f"the catalog has {name} of its own in the same places: this is another history",
                next_step="import it into an empty catalog: mgmt --catalog URL db import FILE",
            ) from error
    return len(new)


def _empty_handed(name: str, row: Facts, under_way: set[str]) -> Facts:
    """A row as it is taken in; `under_way` has the operations that have not ended."""
    if name == "operations" and row.get("status") in LIVE:
        under_way.add(row["operation_id"])
    if name != UploadRecord.__tablename__ or row["operation_id"] not in under_way:
        return row
    return {column: value for column, value in row.items() if column not in _IN_HAND}


def _known(connection: Connection, table: Table, rows: Sequence[Facts]) -> dict[tuple[object, ...], Facts]:
    """Those that the catalog has, by their keys."""
    keys = [column.name for column in table.primary_key]
    asked = text(f"SELECT {columns_of(table, 't')} FROM {table.name} t WHERE t.{keys[0]} IN :keys")  # noqa: S608
    asked = asked.bindparams(bindparam("keys", expanding=True))
    found: dict[tuple[object, ...], Facts] = {}
    for each in connection.execute(asked, {"keys": list({row.get(keys[0]) for row in rows})}):
        facts = plain_row(table, each)
        if table.name == "operations":
            facts = {name: value for name, value in facts.items() if name not in NOT_SAID}
        found[tuple(facts.get(key) for key in keys)] = facts
    return found


def _finish(connection: Connection, rows: Sequence[Facts]) -> int:
    """Give operations their hashes and seals, or see that they have them."""
    ids = [row["operation_id"] for row in rows]
    there = {id_: (digest, seal) for id_, digest, seal in connection.execute(_HASHES, {"ids": ids})}
    changed, lacking = 0, []
    for row in rows:
        wanted = bytes.fromhex(row["sha256"]), row["seal"]
        digest, seal = there.get(row["operation_id"], (None, None))
        if (digest, seal) == wanted:
            continue
        if digest not in (None, wanted[0]) or seal is not None:
            raise _differs("operations", [row["operation_id"]])
        lacking.append({"id": row["operation_id"], "sha256": wanted[0], "seal": wanted[1]})
        changed += digest is not None
    if lacking:
        connection.execute(_FINISH, lacking)
    return changed


_HASHES = text("SELECT operation_id, sha256, seal FROM operations WHERE operation_id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_FINISH = text(
    "UPDATE operations SET sha256 = coalesce(sha256, :sha256), seal = :seal WHERE operation_id = :id"
).bindparams(bindparam("sha256", type_=LargeBinary()))
_COUNT_ON = (
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
        f"{name} {'/'.join(map(str, key))} differs from the catalog's: nothing was imported",
        next_step="export again when nothing is running there; if it differs still: mgmt audit verify, there and here",
    )


def _spoilt(why: str) -> IntegrityError:
    return IntegrityError(f"the history is not whole: {why}", next_step="mgmt db export, once more")
