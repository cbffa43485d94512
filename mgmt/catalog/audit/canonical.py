"""What an operation that has ended says, in exactly one way: the same bytes on both databases, today and in ten years.

It is JSON: keys sorted, no spaces, ASCII. Times are UTC to the microsecond, bytes are `{"hex": ...}`. It has every
column of the operation and of its sub-table, and for each file that the operation touched its role and its place: what
else is known of a file changes after the operation has ended. A column that is NULL is left out, so that one which is
added later changes nothing that was hashed before. What this text looks like may change only together with FORMAT.
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
"""Operations that are looked at together."""

THESE = "o.seq IN :numbers"
"""A condition on operations that are known by number."""

NOT_SAID = frozenset({"sha256", "seal"})
"""What is known only when all else is said."""

Facts = dict[str, Any]
"""A row by the names of its columns, with values that JSON has; without those that are NULL."""


@dataclass(frozen=True, slots=True)
class Said:
    """An operation as it stands in the database: what it says, and what was noted of that when it ended."""

    operation_id: str
    seq: int
    status: str
    sha256: object
    seal: object
    text: bytes

    @property
    def digest(self) -> bytes:
        """What `sha256` should be."""
        return sha256(self.text).digest()


def said(connection: Connection, condition: str, values: Mapping[str, object]) -> Iterator[Said]:
    """The operations `o` that fit `condition`, by number. All of them are in memory: ask for some hundreds."""
    rows = connection.execute(_question(_operations(), condition), values).all()
    extra: dict[str, dict[str, Any]] = {}
    for table in sub_tables():
        for row in connection.execute(_question(table, condition), values):
            facts = plain_row(table, row)
            extra.setdefault(facts.pop("operation_id"), {})[table.name] = facts
    for operation_id, *link in connection.execute(_touched(condition), values):
        extra.setdefault(operation_id, {}).setdefault("files", []).append([_plain(each) for each in link])
    for row in rows:
        facts = plain_row(_operations(), row)
        noted = {name: facts.pop(name, None) for name in NOT_SAID}
        more = extra.get(facts["operation_id"], {})
        if "files" in more:
            more["files"].sort(key=dumps)
        yield Said(
            operation_id=facts["operation_id"],
            seq=facts["seq"],
            status=facts["status"],
            sha256=bytes_of(noted["sha256"]),
            seal=noted["seal"],
            text=dumps({"format": FORMAT, "operations": facts, **more}).encode(),
        )


def said_in_pages(connection: Connection, condition: str, values: Mapping[str, object]) -> Iterator[Said]:
    """The operations `o` that fit `condition`, by number, of which CHUNK are in memory.

    It is asked once, not of each page and table: PostgreSQL took minutes for that with tables not analyzed yet.
    """
    numbers = text(f"SELECT o.seq FROM operations o WHERE {condition} ORDER BY o.seq")  # noqa: S608
    found = connection.execute(numbers, values, execution_options={"yield_per": CHUNK})
    for page in found.scalars().partitions(CHUNK):
        yield from said(connection, THESE, {"numbers": page})


def sub_tables() -> list[Table]:
    """The tables of operations that have facts of their own, by name."""
    return list(_sub_tables())


def plain_row(table: Table, row: Sequence[Any]) -> Facts:
    """The values of a row, which are those of the columns in their order, as the driver gives them."""
    return {name: plain(value) for (name, plain), value in zip(_columns(table), row, strict=True) if value is not None}


def columns_of(table: Table, alias: str) -> str:
    """What to select for `plain_row`."""
    return ", ".join(f'{alias}."{column.name}"' for column in table.columns)


def dumps(value: object) -> str:
    """JSON in exactly one way."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def bytes_of(plain: object) -> object:
    """The bytes that a plain value stands for; anything else as it is."""
    return bytes.fromhex(plain["hex"]) if isinstance(plain, dict) and plain.keys() == {"hex"} else plain


def plain_time(value: object) -> object:
    """`2026-01-31T12:00:00.123456Z`, of PostgreSQL's value or of SQLite's text."""
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
    except ValueError:  # somebody has written to it
        return {"unreadable": value}


@cache
def _columns(table: Table) -> list[tuple[str, Callable[[object], object]]]:
    """Each column's name, and what makes a value of it plain."""
    return [(column.name, _maker(column.type)) for column in table.columns]


def _maker(kind: object) -> Callable[[object], object]:
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
    mappers = OperationRecord.__mapper__.self_and_descendants
    tables = {_table(each.class_) for each in mappers} - {_operations()}
    return tuple(sorted(tables, key=lambda each: each.name))


@cache
def _question(table: Table, condition: str) -> TextClause:
    if table is _operations():
        return _asked(f"SELECT {columns_of(table, 'o')} FROM operations o WHERE {condition} ORDER BY o.seq")  # noqa: S608
    joined = f"FROM operations o JOIN {table.name} t ON t.operation_id = o.operation_id"
    return _asked(f"SELECT {columns_of(table, 't')} {joined} WHERE {condition}")


@cache
def _touched(condition: str) -> TextClause:
    links, files = _table(OperationFile).name, _table(FileRecord).name
    return _asked(
        "SELECT o.operation_id, l.role, f.location, coalesce(f.store, f.host), f.path, f.path_bytes "  # noqa: S608
        f"FROM operations o JOIN {links} l ON l.operation_id = o.operation_id "
        f"LEFT JOIN {files} f ON f.id = l.file_id WHERE {condition}"
    )


def _asked(question: str) -> TextClause:
    asked = text(question)
    return asked.bindparams(bindparam("numbers", expanding=True)) if THESE in question else asked
