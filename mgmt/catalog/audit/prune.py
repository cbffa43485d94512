# ruff: noqa: S608 - user input is bound, and operation types are checked
"""Pruning: which old operations may leave the catalog, their export, and their removal.

Operations that explain the current state are kept: those that made an archive or a completed copy, failed uploads that
may have left parts or an index in a store, verifications that found a fault in an archive that was neither proven nor
deleted since, batches with a kept operation, operations of a batch that has not ended,
prunes, ignores. So are unsealed ones.

An export is gzipped JSON Lines. The first line is a header: `{"pruned": {"format": 1, ...}}`. Then come the operations,
each as `{"operation": {...}, "seal": 3, "seq": 7, "sha256": "..."}`, with the sha256 of the canonical text
(canonical.py); then the seals that list them, and a last line with the counts, both as in export.py.
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

from mgmt.catalog.audit.canonical import (
    CanonicalRow,
    canonical_pages,
    columns_of,
    dumps,
    plain_row,
    plain_time,
    sub_tables,
)
from mgmt.catalog.audit.export import BATCH, FORMAT, Tally, compressed
from mgmt.catalog.audit.ranges import RangeSet
from mgmt.catalog.audit.triggers import expected, known_types
from mgmt.catalog.db.database import Database
from mgmt.catalog.db.revision import HEAD
from mgmt.catalog.records.enums import LIVE_SQL
from mgmt.catalog.records.maintenance import IGNORE, PRUNE, PruneRecord
from mgmt.catalog.records.metadata import METADATA
from mgmt.errors import CatalogError, ConfigurationError, IntegrityError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """The number of prunable operations of a type."""

    operation_type: str
    count: int


def _unrefuted(x: str) -> str:
    """Selects each stored archive in which the verification `x` may have found a fault, not proven since."""
    return (
        "SELECT 1 FROM operation_files l JOIN files a ON a.id = l.file_id AND a.status <> 'deleted'"
        f" WHERE l.operation_id = {x}.operation_id AND l.role = 'archive' AND NOT EXISTS (SELECT 1"
        " FROM operation_files m JOIN operations v ON v.operation_id = m.operation_id WHERE m.file_id = a.id"
        f" AND m.role = 'archive' AND v.operation_type = 'verify' AND v.status = 'success' AND v.seq > {x}.seq)"
    )


@dataclass(frozen=True, slots=True)
class PruneFilter:
    """Selects operations that finished before `before`, of the given types, or of all types if none are given."""

    before: datetime
    types: tuple[str, ...] = ()

    @property
    def condition(self) -> str:
        """The SQL condition on an operation `o`."""
        part = f"SELECT 1 FROM operations c WHERE c.parent_id = o.operation_id AND NOT ({self._is_old('c')})"
        return f"{self._is_old('o')} AND NOT EXISTS ({part})"

    def _is_old(self, x: str) -> str:
        listed = ", ".join(f":type{number}" for number in range(len(self.types)))
        return (
            f"{x}.seal IS NOT NULL AND {x}.completed_at < :before AND {x}.operation_type NOT IN ('{PRUNE}', '{IGNORE}')"
            + (f" AND {x}.operation_type IN ({listed})" if listed else "")
            + f" AND NOT EXISTS (SELECT 1 FROM operations b WHERE b.operation_id = {x}.parent_id"
            f" AND b.status IN {LIVE_SQL})"
            " AND NOT EXISTS (SELECT 1 FROM files f"
            f" WHERE f.operation_id = {x}.operation_id AND f.location <> 'local')"
            f" AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.operation_id = {x}.operation_id"
            f" AND {x}.status <> 'success' AND (u.upload_id IS NOT NULL OR u.index_key IS NOT NULL))"
            f" AND ({x}.operation_type <> 'verify' OR {x}.status = 'success' OR NOT EXISTS ({_unrefuted(x)}))"
        )

    def values(self, connection: Connection) -> dict[str, object]:
        """The parameters of `condition`."""
        before = self.before.astimezone(UTC)
        types = {f"type{number}": each for number, each in enumerate(self.types)}
        return {"before": f"{before:%Y-%m-%d %H:%M:%S.%f}" if connection.dialect.name == "sqlite" else before, **types}

    def check(self, connection: Connection) -> None:
        """Raise ConfigurationError for a type that neither mgmt nor an operation in the catalog has."""
        known = set(known_types())
        if set(self.types) - known:
            known |= set(connection.execute(text("SELECT DISTINCT operation_type FROM operations")).scalars())
        known -= {PRUNE, IGNORE}
        for each in self.types:
            if each not in known:
                raise ConfigurationError(
                    f"{each!r} is not a prunable operation type",
                    next_step=f"one of {', '.join(sorted(known))}",
                )


def prunable(database: Database, which: PruneFilter) -> list[Prunable]:
    """The number of operations that can be pruned, by type. Raises ConfigurationError for an unknown type."""
    counts = text(f"SELECT operation_type, count(*) FROM operations o WHERE {which.condition} GROUP BY 1 ORDER BY 1")
    with database.reading() as session:
        connection = session.connection()
        which.check(connection)
        rows = connection.execute(counts, which.values(connection)).all()
    return [Prunable(operation_type=kind, count=count) for kind, count in rows]


def export(database: Database, which: PruneFilter, prune: PruneRecord, out: BinaryIO) -> None:
    """Write a snapshot of the prunable operations to `out`, gzipped, with bounded memory.

    Raises ConfigurationError for an unknown type.
    """
    tally = Tally()
    with database.snapshot() as connection, compressed(out) as lines:
        which.check(connection)
        values = which.values(connection)
        header = {"ended_before": plain_time(which.before), "format": FORMAT, "schema": HEAD, "types": which.types}
        lines.write(tally.add({"pruned": {**header, "operation_id": prune.operation_id}}))
        for each in canonical_pages(connection, which.condition, values):
            raw = _line(each)
            tally.note(raw, "operations")
            lines.write(raw)
        listing = f"SELECT 1 FROM operations o WHERE o.seal = s.sequence AND {which.condition}"
        seals = METADATA.tables["seals"]
        question = text(f"SELECT {columns_of(seals, 's')} FROM seals s WHERE EXISTS ({listing}) ORDER BY s.sequence")
        for row in connection.execute(question, values, execution_options={"yield_per": BATCH}):
            lines.write(tally.add({"seals": plain_row(seals, row)}))
        lines.write(tally.last())


def read_export(file: BinaryIO) -> RangeSet:
    """Read and verify a whole export; return the `seq` of the operations in it.

    Raises IntegrityError if it is damaged, or an operation in it does not match its hash.
    """
    tally, numbers, last = Tally(), RangeSet(), b""
    try:
        for raw in gzip.GzipFile(fileobj=file, mode="rb"):
            if last:
                tally.note(last, "lines")
                if last.startswith(_BEGIN):
                    numbers.add(_seq_in(last))
            last = raw
    except (ValueError, KeyError, EOFError, OSError, zlib.error) as error:
        raise _corrupt(f"line {tally.lines + 1} cannot be read") from error
    if last != tally.last():
        raise _corrupt("its last line does not match")
    return numbers


_BEGIN, _REST = b'{"operation":', b',"seal":'


def _line(each: CanonicalRow) -> bytes:
    """The line of an operation. It contains the hashed text byte for byte."""
    rest = dumps({"seal": each.seal, "seq": each.seq, "sha256": each.digest.hex()}).encode()
    return _BEGIN + each.text + b"," + rest[1:] + b"\n"


def _seq_in(raw: bytes) -> int:
    rest = raw.rindex(_REST)
    canonical = raw[len(_BEGIN) : rest]
    facts = json.loads(b"{" + raw[rest + 1 :])
    if sha256(canonical).hexdigest() != facts["sha256"]:
        raise _corrupt(f"operation {facts['seq']} does not match its hash")
    return int(facts["seq"])


def _corrupt(why: str) -> IntegrityError:
    return IntegrityError(f"the export is damaged: {why}", next_step="run `mgmt db prune` again")


def remove(database: Database, numbers: RangeSet) -> None:
    """Remove the operations with these `seq`, and their dependent rows, from the catalog.

    It disables the triggers that refuse this, within the caller's transaction; on PostgreSQL only the owner of the
    tables may do that. Raises CatalogError if some of the operations are missing, or the database refuses.
    """
    with database.transaction() as session:
        connection = session.connection()
        # The collation of the other columns: with another one the planner compares each row with each.
        collation, end = ("", "") if database.is_sqlite else (' COLLATE "C"', " ON COMMIT DROP")
        connection.exec_driver_sql(f"CREATE TEMP TABLE pruned (operation_id TEXT{collation} PRIMARY KEY){end}")
        for some in _batches(numbers):
            connection.execute(_MARK, some)
        if connection.scalar(text("SELECT count(*) FROM pruned")) != len(numbers):
            raise CatalogError("some operations were removed concurrently", next_step="mgmt audit verify")
        connection.exec_driver_sql(_UNLINK)
        if database.is_sqlite:
            _remove_from_sqlite(connection)
            connection.exec_driver_sql("DROP TABLE pruned")
        else:
            _remove_from_postgresql(connection)


def _batches(numbers: RangeSet) -> Iterator[list[Mapping[str, Any]]]:
    for start in range(0, len(numbers.pairs), BATCH):
        yield [{"first": first, "last": last} for first, last in numbers.pairs[start : start + BATCH]]


def _remove_from_sqlite(connection: Connection) -> None:
    trigger = "operations_delete"
    connection.exec_driver_sql(
        "PRAGMA defer_foreign_keys=ON"
    )  # the triggers let dependent rows go only after their operation
    connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
    for table in ("operations", *(each.name for each in _dependent_tables())):
        connection.exec_driver_sql(_DELETE.format(table=table))
    connection.exec_driver_sql(expected("sqlite")[trigger])


def _remove_from_postgresql(connection: Connection) -> None:
    tables = [*(each.name for each in _dependent_tables()), "operations"]
    # Other sessions must not queue behind this one for long.
    connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER {table}_keep")
    connection.exec_driver_sql("ANALYZE pruned")
    for table in tables:
        connection.exec_driver_sql(_DELETE.format(table=table))
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER {table}_keep")


_MARK = text("INSERT INTO pruned SELECT operation_id FROM operations WHERE seq BETWEEN :first AND :last")
_UNLINK = "UPDATE files SET operation_id = NULL WHERE operation_id IN (SELECT operation_id FROM pruned)"
"""A restored file keeps its record when the download that restored it is pruned."""
_DELETE = "DELETE FROM {table} WHERE operation_id IN (SELECT operation_id FROM pruned)"


def _dependent_tables() -> list[Table]:
    return [*sub_tables(), METADATA.tables["operation_files"]]
