"""Import of an exported history (export.py) into a catalog, in one transaction.

An upload that was running at the time of the export may have finished since, so it is imported without the parts and
the index that it has in the store: only the other catalog may remove those. `mgmt recover` asks the store whether its
archive is complete.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, BinaryIO, cast

from sqlalchemy import JSON, Column, Connection, LargeBinary, Table, bindparam, text
from sqlalchemy.exc import IntegrityError as ConstraintViolation

from mgmt.catalog.audit.canonical import UNHASHED, Facts, bytes_of, columns_of, plain_row
from mgmt.catalog.audit.export import FINISHED, FORMAT, ExchangeResult, Tally, exported_tables
from mgmt.catalog.audit.verification import Verification
from mgmt.catalog.db.bulk import insert
from mgmt.catalog.db.database import HEAD, Database
from mgmt.catalog.records.enums import LIVE
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.catalog.records.types import UTCDateTime
from mgmt.errors import ConfigurationError, ConflictError, IntegrityError

_GZIP = b"\x1f\x8b"
ROWS = 2_000
"""Rows that are inserted together."""
_CREATE_FINISHED = (
    "CREATE TEMPORARY TABLE finished (operation_id TEXT{collation} PRIMARY KEY, sha256 {bytes} NOT NULL, seal BIGINT)"
)
_SEQUENCES = {"operations": "seq", "files": "id", "directories": "id", "members": "id"}
"""Columns that PostgreSQL numbers by itself; an import advances their sequences."""
_STORE_STATE = frozenset({"upload_id", "index_key"})
"""Columns of an upload that name what it may remove from its store while it is running."""
_OTHERWISE = text(
    "SELECT f.operation_id FROM finished f JOIN operations o ON o.operation_id = f.operation_id "
    "WHERE o.sha256 <> f.sha256 OR o.seal IS NOT NULL AND o.seal <> coalesce(f.seal, -1) ORDER BY o.seq LIMIT 1"
)
_SEALED_SINCE = text(
    "SELECT count(*) FROM operations o JOIN finished f ON f.operation_id = o.operation_id "
    "WHERE o.sha256 IS NOT NULL AND o.seal IS NULL AND f.seal IS NOT NULL"
)
_FINISH = text(
    "UPDATE operations AS o SET sha256 = coalesce(o.sha256, f.sha256), seal = f.seal FROM finished f "
    "WHERE o.operation_id = f.operation_id AND (o.sha256 IS NULL OR o.seal IS NULL AND f.seal IS NOT NULL)"
)
_ADVANCE_SEQUENCE = (
    "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), greatest(nextval(pg_get_serial_sequence("
    "'{table}', '{column}')), (SELECT coalesce(max({column}), 1) FROM {table})))"
)


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
        empty = {table.name for table in exported_tables(members=True) if _is_empty(connection, table)}
        # The collation of the other columns: with another one the planner compares each row with each.
        blob, collation, end = ("BLOB", "", "") if database.is_sqlite else ("bytea", ' COLLATE "C"', " ON COMMIT DROP")
        connection.exec_driver_sql(_CREATE_FINISHED.format(bytes=blob, collation=collation) + end)
        for name, group in groupby(lines, key=lambda line: next(iter(line))):
            rows = (line[name] for line in group)
            while batch := list(islice(rows, ROWS)):
                new += _add(connection, name, batch, empty, live)
        new += _finish(connection)
        for table, column in () if database.is_sqlite else _SEQUENCES.items():
            connection.execute(text(_ADVANCE_SEQUENCE.format(table=table, column=column)))
        for finding in Verification(database, ()).findings_in(connection):
            raise IntegrityError(
                f"the history does not match its seals: {finding.operation_id or finding.seal}: {finding.detail}",
                next_step="run `mgmt audit verify` on both catalogs",
            )
    return tally.result(new=new)


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
    if name == FINISHED:
        values = [(row["operation_id"], bytes.fromhex(row["sha256"]), row["seal"]) for row in rows]
        insert(connection, "finished", ("operation_id", "sha256", "seal"), values)
        return 0
    table = next((each for each in exported_tables(members=True) if each.name == name), None)
    if table is None or not all(isinstance(row, dict) and row.keys() <= set(table.c.keys()) for row in rows):
        raise ConfigurationError(
            f"the export is from a newer mgmt: unknown table or column in {name}", next_step="use a newer mgmt"
        )
    known = {} if name in empty else _known(connection, table, rows)
    keys = [column.name for column in table.primary_key]
    columns = [column for column in table.columns if column.name not in UNHASHED or table.name != "operations"]
    is_sqlite = connection.dialect.name == "sqlite"
    new: list[list[Any]] = []
    for row in rows:
        existing = known.get(tuple(row.get(key) for key in keys))
        imported = _without_store_state(name, row, live)
        if existing is None:
            new.append([_value(column, imported.get(column.name), is_sqlite=is_sqlite) for column in columns])
        elif existing not in (row, imported):
            raise _differs(name, [row.get(key) for key in keys])
    if new:
        try:
            insert(connection, table.name, [column.name for column in columns], new)
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


def _finish(connection: Connection) -> int:
    """Set the hashes and seals of operations; return how many existing operations changed."""
    if connection.dialect.name != "sqlite":
        # Autovacuum sees nothing of this transaction, and without statistics the planner joins row by row.
        connection.exec_driver_sql(
            f"ANALYZE finished, {', '.join(each.name for each in exported_tables(members=False))}"
        )
    if (other := connection.scalar(_OTHERWISE)) is not None:
        raise _differs("operations", [other])
    changed: int = connection.scalar(_SEALED_SINCE) or 0
    connection.execute(_FINISH)
    connection.exec_driver_sql("DROP TABLE finished")
    return changed


def _value(column: Column[Any], plain: Any, *, is_sqlite: bool) -> Any:
    """The value to store for the JSON value `plain`."""
    if isinstance(column.type, UTCDateTime) and plain is not None:
        moment = datetime.fromisoformat(plain).astimezone(UTC)
        return f"{moment:%Y-%m-%d %H:%M:%S.%f}" if is_sqlite else moment
    if isinstance(column.type, JSON) and plain is not None:
        return json.dumps(plain)
    return bytes_of(plain) if isinstance(column.type, LargeBinary) else plain


def _is_empty(connection: Connection, table: Table) -> bool:
    return connection.execute(text(f"SELECT 1 FROM {table.name} LIMIT 1")).first() is None  # noqa: S608


def _differs(name: str, key: Sequence[object]) -> ConflictError:
    return ConflictError(
        f"{name} {'/'.join(map(str, key))} differs from the catalog: nothing was imported",
        next_step="export again while nothing is running, or compare both catalogs with `mgmt audit verify`",
    )


def _corrupt(why: str) -> IntegrityError:
    return IntegrityError(f"the export is damaged: {why}", next_step="run `mgmt db export` again")
