# ruff: noqa: S608 - what a user typed is bound, and types are ours
"""Old operations that leave the catalog: which may go, what is exported of them, and how they are removed.

What explains the present stays: an operation that has made an archive or a completed copy, an upload that failed and
may have left something in a store, a batch of which a part stays, and every prune. So does what no seal lists yet.

An export is JSON Lines. The first line says what it is: `{"pruned": {"format": 1, ...}}`. Then come the operations,
each as `{"operation": {...}, "seal": 3, "seq": 7, "sha256": "..."}`, where the sha256 is that of the canonical text
(canonical.py); then the seals that list them, and a last line that counts the others, both as in export.py.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, BinaryIO

from sqlalchemy import Connection, Table, text

from mgmt.catalog.audit.canonical import Said, columns_of, dumps, plain_row, plain_time, said_in_pages, sub_tables
from mgmt.catalog.audit.export import BATCH, FORMAT, Tally, compressed
from mgmt.catalog.audit.ranges import Numbers
from mgmt.catalog.audit.triggers import expected
from mgmt.catalog.db.database import HEAD, Database
from mgmt.catalog.records.base import Base
from mgmt.catalog.records.maintenance import PRUNE, PruneRecord
from mgmt.catalog.records.operations import OperationRecord
from mgmt.errors import CatalogError, ConfigurationError, IntegrityError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """How many operations of a type may go."""

    operation_type: str
    count: int


@dataclass(frozen=True, slots=True)
class Which:
    """The operations that are to go: those that had ended by `before`, of these types or, without any, of all."""

    before: datetime
    types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = OperationRecord.__mapper__.polymorphic_map.keys() - {PRUNE}
        for each in self.types:
            if each not in known:
                raise ConfigurationError(
                    f"{each!r} is no type of operation that can be pruned",
                    next_step=f"one of {', '.join(sorted(map(str, known)))}",
                )

    @property
    def condition(self) -> str:
        """Of an operation `o`, in SQL."""
        part = f"SELECT 1 FROM operations c WHERE c.parent_id = o.operation_id AND NOT ({self._old('c')})"
        return f"{self._old('o')} AND NOT EXISTS ({part})"

    def _old(self, x: str) -> str:
        listed = ", ".join(f"'{each}'" for each in self.types)
        return (
            f"{x}.seal IS NOT NULL AND {x}.completed_at < :before AND {x}.operation_type <> '{PRUNE}'"
            + (f" AND {x}.operation_type IN ({listed})" if listed else "")
            + " AND NOT EXISTS (SELECT 1 FROM files f"
            f" WHERE f.operation_id = {x}.operation_id AND f.location <> 'local')"
            f" AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.operation_id = {x}.operation_id"
            f" AND {x}.status <> 'success' AND (u.upload_id IS NOT NULL OR u.index_key IS NOT NULL))"
        )

    def values(self, connection: Connection) -> dict[str, object]:
        """What stands for the names in `condition`."""
        before = self.before.astimezone(UTC)
        return {"before": f"{before:%Y-%m-%d %H:%M:%S.%f}" if connection.dialect.name == "sqlite" else before}


def prunable(database: Database, which: Which) -> list[Prunable]:
    """What may go, by type."""
    counts = text(f"SELECT operation_type, count(*) FROM operations o WHERE {which.condition} GROUP BY 1 ORDER BY 1")
    with database.reading() as session:
        connection = session.connection()
        rows = connection.execute(counts, which.values(connection)).all()
    return [Prunable(operation_type=kind, count=count) for kind, count in rows]


def export(database: Database, which: Which, prune: PruneRecord, out: BinaryIO) -> None:
    """Write what may go to `out`, compressed, as it is at one moment. Memory stays flat."""
    tally = Tally()
    with database.snapshot() as connection, compressed(out) as lines:
        values = which.values(connection)
        header = {"ended_before": plain_time(which.before), "format": FORMAT, "schema": HEAD, "types": which.types}
        lines.write(tally.add({"pruned": {**header, "operation_id": prune.operation_id}}))
        for each in said_in_pages(connection, which.condition, values):
            raw = _line(each)
            tally.note(raw, "operations")
            lines.write(raw)
        listing = f"SELECT 1 FROM operations o WHERE o.seal = s.sequence AND {which.condition}"
        seals = Base.metadata.tables["seals"]
        question = text(f"SELECT {columns_of(seals, 's')} FROM seals s WHERE EXISTS ({listing}) ORDER BY s.sequence")
        for row in connection.execute(question, values, execution_options={"yield_per": BATCH}):
            lines.write(tally.add({"seals": plain_row(seals, row)}))
        lines.write(tally.last())


def exported(file: BinaryIO) -> Numbers:
    """Read an export, all of it, and return the numbers of the operations that it was seen to hold.

    Raises IntegrityError when it is not whole, or an operation in it is not what its hash is of.
    """
    tally, numbers, last = Tally(), Numbers(), b""
    try:
        for raw in gzip.GzipFile(fileobj=file, mode="rb"):
            if last:
                tally.note(last, "lines")
                if last.startswith(_BEGIN):
                    numbers.add(_number_in(last))
            last = raw
    except (ValueError, KeyError, EOFError, OSError, zlib.error) as error:
        raise _spoilt(f"line {tally.lines + 1} cannot be read") from error
    if last != tally.last():
        raise _spoilt("its last line tells of other lines")
    return numbers


_BEGIN, _REST = b'{"operation":', b',"seal":'


def _line(each: Said) -> bytes:
    """What was hashed stands in it to the byte."""
    rest = dumps({"seal": each.seal, "seq": each.seq, "sha256": each.digest.hex()}).encode()
    return _BEGIN + each.text + b"," + rest[1:] + b"\n"


def _number_in(raw: bytes) -> int:
    rest = raw.rindex(_REST)
    said = raw[len(_BEGIN) : rest]
    noted = json.loads(b"{" + raw[rest + 1 :])
    if sha256(said).hexdigest() != noted["sha256"]:
        raise _spoilt(f"operation {noted['seq']} is not what its hash is of")
    return int(noted["seq"])


def _spoilt(why: str) -> IntegrityError:
    return IntegrityError(f"the export is not whole: {why}", next_step="mgmt db prune, once more")


def remove(database: Database, numbers: Numbers) -> None:
    """Take the operations of these numbers, and what belongs to them, out of the catalog.

    For that the triggers that keep what has ended rest, in the caller's transaction and nowhere else; on PostgreSQL
    only the owner of the tables may do that. Raises CatalogError when they are not all there, or the database refuses.
    """
    with database.transaction() as session:
        connection = session.connection()
        end = "" if database.is_sqlite else " ON COMMIT DROP"
        connection.exec_driver_sql(f"CREATE TEMP TABLE pruned (operation_id TEXT PRIMARY KEY){end}")
        for some in _some(numbers):
            connection.execute(_MARK, some)
        if connection.scalar(text("SELECT count(*) FROM pruned")) != len(numbers):
            raise CatalogError("somebody has removed some of them meanwhile", next_step="mgmt audit verify")
        connection.exec_driver_sql(_FORGET)
        if database.is_sqlite:
            _remove_from_sqlite(connection)
            connection.exec_driver_sql("DROP TABLE pruned")
        else:
            _remove_from_postgresql(connection)


def _some(numbers: Numbers) -> Iterator[list[Mapping[str, Any]]]:
    for start in range(0, len(numbers.pairs), BATCH):
        yield [{"first": first, "last": last} for first, last in numbers.pairs[start : start + BATCH]]


def _remove_from_sqlite(connection: Connection) -> None:
    keeper = "operations_delete"
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")  # what belongs to an operation may go only after it
    connection.exec_driver_sql(f"DROP TRIGGER {keeper}")
    for table in ("operations", *(each.name for each in _parts())):
        connection.exec_driver_sql(_DELETE.format(table=table))
    connection.exec_driver_sql(expected("sqlite")[keeper])


def _remove_from_postgresql(connection: Connection) -> None:
    tables = [*(each.name for each in _parts()), "operations"]
    # Whoever works meanwhile does not stand in line behind us for long.
    connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER {table}_keep")
    connection.exec_driver_sql("ANALYZE pruned")
    for table in tables:
        connection.exec_driver_sql(_DELETE.format(table=table))
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER {table}_keep")


_MARK = text("INSERT INTO pruned SELECT operation_id FROM operations WHERE seq BETWEEN :first AND :last")
_FORGET = "UPDATE files SET operation_id = NULL WHERE operation_id IN (SELECT operation_id FROM pruned)"
"""A file that was restored is there whoever has restored it."""
_DELETE = "DELETE FROM {table} WHERE operation_id IN (SELECT operation_id FROM pruned)"


def _parts() -> list[Table]:
    return [*sub_tables(), Base.metadata.tables["operation_files"]]
