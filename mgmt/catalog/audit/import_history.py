"""Import of an exported history (export.py) into a catalog, in one transaction.

An upload that was running at the time of the export may have finished since, so it is imported without the parts and
the index that it has in the store: only the other catalog may remove those. `mgmt recover` asks the store whether its
archive is complete.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, BinaryIO, cast

from sqlalchemy import text

from mgmt.catalog.audit.export import FORMAT, ExchangeResult, Tally
from mgmt.catalog.audit.import_rows import ImportedRows
from mgmt.catalog.audit.verification import Verification
from mgmt.catalog.db.database import Database
from mgmt.catalog.db.revision import HEAD
from mgmt.errors import ConfigurationError, IntegrityError

_GZIP = b"\x1f\x8b"
_SEQUENCES = {"operations": "seq", "files": "id", "directories": "id", "members": "id"}
"""Columns that PostgreSQL numbers by itself; an import advances their sequences."""
_ADVANCE_SEQUENCE = (
    "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), greatest(nextval(pg_get_serial_sequence("
    "'{table}', '{column}')), (SELECT coalesce(max({column}), 1) FROM {table})))"
)


def import_history(database: Database, source: BinaryIO, *, update: bool = False) -> ExchangeResult:
    """Add the history in `source`, gzipped or not, to the catalog, in one transaction.

    Rows that exist must be equal, and are not changed; but an operation that is pending in one of the catalogs and has
    ended in the other has that end. With `update`, records of the same files and members that differ get the values in
    `source`, which must be the newer ones; operations that have ended never change. Raises ConflictError if they differ
    or `source` is older, IntegrityError if `source` is damaged or does not match its seals, ConfigurationError
    if it is not an export, or from a newer mgmt.
    """
    with database.transaction() as session:
        connection = session.connection()
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        tally, rows = Tally(), ImportedRows(connection, update=update)
        lines = _verified_lines(_open(source), tally)
        _check_header(next(lines, {}))
        for name, group in groupby(lines, key=lambda line: next(iter(line))):
            rows.add(name, (line[name] for line in group))
        rows.finish()
        for table, column in () if database.is_sqlite else _SEQUENCES.items():
            connection.execute(text(_ADVANCE_SEQUENCE.format(table=table, column=column)))
        for finding in Verification(database, ()).findings_in(connection):
            raise IntegrityError(
                f"the history does not match its seals: {finding.operation_id or finding.seal}: {finding.detail}",
                next_step="run `mgmt audit verify` on both catalogs",
            )
    return tally.result(new=rows.new, updated=rows.updated + rows.ended)


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


def _corrupt(why: str) -> IntegrityError:
    return IntegrityError(f"the export is damaged: {why}", next_step="run `mgmt db export` again")
