"""The canonical text of an operation, which is hashed: the same bytes on both databases, today and in ten years.

It is JSON: keys sorted, no spaces, ASCII. Times are UTC with microseconds, bytes are `{"hex": ...}`. It contains every
column of the operation and of its sub-table, and the role and place of each file that the operation touched; other
columns of a file may change later. NULL columns are omitted, so that a column that is added later does not change
existing hashes. The text may change only together with FORMAT.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

from sqlalchemy import JSON, Boolean, Connection, Table, TextClause, bindparam, text

from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import OperationFile, OperationRecord
from mgmt.catalog.records.types import UTCDateTime

FORMAT = 1

CHUNK = 2_000
"""Operations that are loaded together."""

BY_SEQ = "o.seq IN :numbers"
"""The condition that selects operations by `seq`."""

UNHASHED = frozenset({"sha256", "seal"})
"""Columns that are set after the hash is computed, and are not part of it."""

Facts = dict[str, Any]
"""A row as JSON values by column name, without NULLs."""


@dataclass(frozen=True, slots=True)
class CanonicalRow:
    """An operation in the database: its canonical text, and the hash and seal that are stored with it."""

    operation_id: str
    seq: int
    status: str
    sha256: object
    seal: object
    text: bytes

    @property
    def digest(self) -> bytes:
        """The expected value of `sha256`."""
        return sha256(self.text).digest()


def canonical_rows(
    connection: Connection, condition: str, values: Mapping[str, object], tables: Sequence[Table] | None = None
) -> Iterator[CanonicalRow]:
    """The operations `o` that match `condition`, in order. All are held in memory, so select a few hundred at most.

    `tables` are the sub-tables that they have rows in: all, unless the caller knows better.
    """
    rows = connection.execute(_query(_operations(), condition), values).all()
    extra: dict[str, dict[str, Any]] = {}
    for table in sub_tables() if tables is None else tables:
        for row in connection.execute(_query(table, condition), values):
            facts = plain_row(table, row)
            extra.setdefault(facts.pop("operation_id"), {})[table.name] = facts
    for operation_id, *link in connection.execute(_links_query(condition), values):
        extra.setdefault(operation_id, {}).setdefault("files", []).append([_plain(each) for each in link])
    for row in rows:
        facts = plain_row(_operations(), row)
        stored = {name: facts.pop(name, None) for name in UNHASHED}
        more = extra.get(facts["operation_id"], {})
        if "files" in more:
            more["files"].sort(key=dumps)
        yield CanonicalRow(
            operation_id=facts["operation_id"],
            seq=facts["seq"],
            status=facts["status"],
            sha256=bytes_of(stored["sha256"]),
            seal=stored["seal"],
            text=dumps({"format": FORMAT, "operations": facts, **more}).encode(),
        )


def canonical_pages(connection: Connection, condition: str, values: Mapping[str, object]) -> Iterator[CanonicalRow]:
    """The operations `o` that match `condition`, in order, with CHUNK of them in memory at a time.

    `condition` is evaluated once, not for each page and table: that takes PostgreSQL minutes before an ANALYZE.
    """
    numbers = text(f"SELECT o.seq FROM operations o WHERE {condition} ORDER BY o.seq")  # noqa: S608
    found = connection.execute(numbers, values, execution_options={"yield_per": CHUNK})
    for page in found.scalars().partitions(CHUNK):
        yield from canonical_rows(connection, BY_SEQ, {"numbers": page})


def sub_tables() -> list[Table]:
    """The sub-tables of operations, sorted by name."""
    return list(_sub_tables())


def sub_tables_of(record: type[OperationRecord]) -> list[Table]:
    """The sub-table of this type of operation, or none."""
    return [table for table in [_table(record)] if table is not _operations()]


def plain_row(table: Table, row: Sequence[Any]) -> Facts:
    """Convert a row, selected with `columns_of`, to JSON values by column name."""
    return {name: plain(value) for (name, plain), value in zip(_columns(table), row, strict=True) if value is not None}


def columns_of(table: Table, alias: str) -> str:
    """The select list for `plain_row`."""
    return ", ".join(f'{alias}."{column.name}"' for column in table.columns)


def dumps(value: object) -> str:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def bytes_of(plain: object) -> object:
    """Decode `{"hex": ...}`; return any other value unchanged."""
    return bytes.fromhex(plain["hex"]) if isinstance(plain, dict) and plain.keys() == {"hex"} else plain


def plain_time(value: object) -> object:
    """`2026-01-31T12:00:00.123456Z`, from a PostgreSQL value or SQLite text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return value.replace(" ", "T") + "Z" if isinstance(value, str) else _plain(value)


def _plain(value: object) -> object:
    return {"hex": bytes(value).hex()} if isinstance(value, (bytes, memoryview)) else value


def _plain_flag(value: object) -> object:
    return bool(value) if value in (0, 1) else _plain(value)


def _plain_json(value: object) -> object:
    if not isinstance(value, str):
        return _plain(value)
    try:
        return json.loads(value)
    except ValueError:  # another program wrote it
        return {"unreadable": value}


@cache
def _columns(table: Table) -> list[tuple[str, Callable[[object], object]]]:
    """Each column's name, and the function that converts its values."""
    return [(column.name, _converter(column.type)) for column in table.columns]


def _converter(kind: object) -> Callable[[object], object]:
    if isinstance(kind, UTCDateTime):
        return plain_time
    if isinstance(kind, Boolean):
        return _plain_flag
    return _plain_json if isinstance(kind, JSON) else _plain


def _operations() -> Table:
    return _table(OperationRecord)


def _table(record: type[Any]) -> Table:
    table: Table = record.__table__
    return table


@cache
def _sub_tables() -> tuple[Table, ...]:
    from mgmt.catalog.records.operation_types import AnyOperation  # maps every type; to hash one operation needs one

    mappers = AnyOperation.__mapper__.self_and_descendants
    tables = {_table(each.class_) for each in mappers} - {_operations()}
    return tuple(sorted(tables, key=lambda each: each.name))


@cache
def _query(table: Table, condition: str) -> TextClause:
    if table is _operations():
        return _statement(f"SELECT {columns_of(table, 'o')} FROM operations o WHERE {condition} ORDER BY o.seq")  # noqa: S608
    joined = f"FROM operations o JOIN {table.name} t ON t.operation_id = o.operation_id"
    return _statement(f"SELECT {columns_of(table, 't')} {joined} WHERE {condition}")


@cache
def _links_query(condition: str) -> TextClause:
    links, files = _table(OperationFile).name, _table(FileRecord).name
    return _statement(
        "SELECT o.operation_id, l.role, f.location, coalesce(f.store, f.host), f.path, f.path_bytes "  # noqa: S608
        f"FROM operations o JOIN {links} l ON l.operation_id = o.operation_id "
        f"LEFT JOIN {files} f ON f.id = l.file_id WHERE {condition}"
    )


def _statement(sql: str) -> TextClause:
    statement = text(sql)
    return statement.bindparams(bindparam("numbers", expanding=True)) if BY_SEQ in sql else statement
