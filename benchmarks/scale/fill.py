"""Fills a catalog in bulk: by plain SQL, into the tables that the migrations create.

Indexes are dropped and created again, constraints and triggers that compare rows with others are not run: `audit
verify` and `db check` prove afterwards that the rows are as mgmt would have written them.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Protocol

from benchmarks.scale.rows import BATCH, COLUMNS, DEPTH, GENERATED, Batch, Values, batch
from mgmt.catalog import open_catalog
from mgmt.catalog.audit.canonical import plain_time
from mgmt.catalog.audit.seals import digest_of
from mgmt.catalog.db.engine import parse
from mgmt.catalog.schema import migrate
from mgmt.catalog.schema.soundness import NUMBERED

WORKERS = 2
AHEAD = 4
"""Batches that are prepared while one is written."""

LAST_SEAL = "SELECT sequence, digest, (SELECT max(seq) FROM operations) FROM seals ORDER BY sequence DESC LIMIT 1"


class Writer(Protocol):
    """An empty catalog that is being filled."""

    def last_seal(self) -> tuple[int, bytes | None, int]:
        """The number and the digest of the last seal, and the last operation; 0, None, 0 in an empty catalog."""
        ...

    def run(self, statement: str) -> None:
        """Run a statement within the transaction."""
        ...

    def write(self, table: str, columns: tuple[str, ...], rows: Any) -> None:
        """Add the rows, as `prepare` returned them."""
        ...

    def commit(self) -> None:
        """End the transaction of a batch."""
        ...


def fill(url: str, archives: int, members: int, progress: Callable[[int], None]) -> None:
    """Let the catalog at `url` grow to that many archives (a multiple of BATCH) of `members` each.

    With members it must be empty, or have GENERATED archives; more than those are a multiple of them. Nothing else may
    have been recorded in it, as `search` does.
    """
    with closing(open_catalog(url)) as catalog:
        migrate.upgrade(catalog.database)
    is_sqlite = url.startswith("sqlite")
    with _sqlite(url) if is_sqlite else _postgresql(url) as writer:
        first, previous, operations = writer.last_seal()
        if operations != first * BATCH:
            raise SystemExit("the catalog has been used: it cannot grow")
        numbers = range(first, archives // BATCH)
        for number, listed, sealed_at, prepared in _batches(numbers, members, is_sqlite=is_sqlite):
            for table, rows in prepared.items():
                writer.write(table, COLUMNS[table], rows)
            digest = digest_of(number + 1, plain_time(sealed_at), listed, previous)
            seal: list[Values] = [(number + 1, sealed_at, listed, previous, digest)]
            writer.write("seals", COLUMNS["seals"], seal if is_sqlite else copied(seal))
            writer.commit()
            previous = digest
            progress((number + 1) * BATCH)
        for number in range(1, archives // GENERATED if members else 0):
            for statement in copies(number, members, is_sqlite=is_sqlite):
                writer.run(statement)
            writer.commit()
            progress(number * GENERATED)


def copies(number: int, members: int, *, is_sqlite: bool) -> Iterator[str]:
    """SQL that copies the members of the first GENERATED archives, as those of the archives from that many times on."""
    files, rows, folders = (number * GENERATED * each for each in (3, members, members + DEPTH))
    root = f"CASE WHEN directory_id = 1 THEN 1 ELSE directory_id + {folders} END"
    slash = "instr(path || '/', '/')" if is_sqlite else "strpos(path || '/', '/')"
    yield (
        f"INSERT INTO directories (id, path) SELECT id + {folders}, substr(path, 1, {slash} - 1) || ' {number}' || "
        f"substr(path, {slash}) FROM directories WHERE id > 1 AND id < {2 + GENERATED * (members + DEPTH)} ORDER BY id"
    )
    yield (
        f"INSERT INTO members ({', '.join(COLUMNS['members'])}) SELECT id + {rows}, archive_id + {files}, {root}, "
        f"CASE directory_id WHEN 1 THEN name || ' {number}' ELSE name END, type, mode, size, mtime_ns, header_offset, "
        f"data_offset, sha256 FROM members WHERE id <= {GENERATED * members} ORDER BY id"
    )
    yield (
        f"INSERT INTO member_ranges (archive_id, first_id, last_id) SELECT archive_id + {files}, first_id + {rows}, "
        f"last_id + {rows} FROM member_ranges WHERE archive_id <= {3 * GENERATED}"
    )
    yield (
        f"INSERT INTO directory_archives (directory_id, archive_id) SELECT {root}, archive_id + {files} "
        f"FROM directory_archives WHERE archive_id <= {3 * GENERATED} ORDER BY 1, 2"
    )


def copied(rows: Iterable[Values]) -> bytes:
    """Rows in the text format of COPY."""
    return "".join("\t".join(map(_copied, row)) + "\n" for row in rows).encode()


def _copied(value: object) -> str:
    if value is None:
        return r"\N"
    if isinstance(value, bytes):
        return r"\\x" + value.hex()
    if isinstance(value, str):
        return value.replace("\\", "\\\\") if "\\" in value else value  # no name here has a tab or a new line
    return str(value)


def _prepared(members: int, is_sqlite: bool, number: int) -> tuple[int, str, str, dict[str, Any]]:
    made: Batch = batch(number, members)
    tables = {table: made.rows[table] for table in COLUMNS if table in made.rows}
    return (
        number,
        made.listed,
        made.sealed_at,
        tables if is_sqlite else {table: copied(rows) for table, rows in tables.items()},
    )


def _batches(numbers: range, members: int, *, is_sqlite: bool) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    with ProcessPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[tuple[int, str, str, dict[str, Any]]]] = deque()
        for number in numbers:
            waiting.append(pool.submit(partial(_prepared, members, is_sqlite), number))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _SQLite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._open = False

    def last_seal(self) -> tuple[int, bytes | None, int]:
        return self._connection.execute(LAST_SEAL).fetchone() or (0, None, 0)

    def run(self, statement: str) -> None:
        self._begin()
        self._connection.execute(statement)

    def write(self, table: str, columns: tuple[str, ...], rows: list[Values]) -> None:
        self._begin()
        marks = ", ".join("?" * len(columns))
        listed = ", ".join(f'"{each}"' for each in columns)
        self._connection.executemany(f"INSERT INTO {table} ({listed}) VALUES ({marks})", rows)

    def commit(self) -> None:
        self._connection.execute("COMMIT")
        self._open = False

    def _begin(self) -> None:
        if not self._open:
            self._connection.execute("BEGIN")
            self._open = True


@contextmanager
def _sqlite(url: str) -> Iterator[Writer]:
    with closing(sqlite3.connect(str(parse(url).database), isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-400000"):
            connection.execute(f"PRAGMA {pragma}")
        made = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOTNULL"
        indexes = connection.execute(made).fetchall()
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        yield _SQLite(connection)
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("PRAGMA journal_mode=WAL")


class _PostgreSQL:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def last_seal(self) -> tuple[int, bytes | None, int]:
        return self._connection.execute(LAST_SEAL).fetchone() or (0, None, 0)

    def run(self, statement: str) -> None:
        self._connection.execute(statement.encode())

    def write(self, table: str, columns: tuple[str, ...], rows: bytes) -> None:
        listed = ", ".join(f'"{each}"' for each in columns)
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {table} ({listed}) FROM STDIN") as copy:
            copy.write(rows)

    def commit(self) -> None:
        self._connection.commit()


@contextmanager
def _postgresql(url: str) -> Iterator[Writer]:
    import psycopg

    with psycopg.connect(url) as connection:
        for setting in ("session_replication_role = replica", "synchronous_commit = off", "timezone = 'UTC'"):
            connection.execute(f"SET {setting}".encode())
        connection.execute("SET maintenance_work_mem = '1GB'")
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes i WHERE schemaname = current_schema() AND NOT EXISTS "
            "(SELECT FROM pg_constraint WHERE conindid = format('%I.%I', schemaname, indexname)::regclass)"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"'.encode())
        connection.commit()
        yield _PostgreSQL(connection)
        for _, definition in indexes:
            connection.execute(definition.encode())
            connection.commit()
        for table, column in NUMBERED.items():
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), "
                f"(SELECT coalesce(max({column}), 1) FROM {table}))".encode()
            )
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM (ANALYZE)")
