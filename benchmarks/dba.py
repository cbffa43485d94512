"""Times and sizes of administrative tasks with a large catalog: the figures of docs/dba.md.

`python -m benchmarks.dba [--operations N] [--members N] [--from REV] [--only sqlite|postgresql]` makes a catalog of
that size on each database, measures, and prints a table. The default is small, to check that it works.
PostgreSQL is the server that MGMT_TEST_POSTGRES_URL names, or one of our own, with fsync.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from sqlalchemy import JSON, Boolean, Column, DateTime, insert, text
from sqlalchemy.types import TypeDecorator

from benchmarks import collection, history
from benchmarks.recorder import a_record
from mgmt.catalog import HEAD, Catalog, Database, open_catalog
from mgmt.catalog.audit.export import compressed, export
from mgmt.catalog.audit.import_history import import_history
from mgmt.catalog.audit.prune import PruneFilter
from mgmt.catalog.records.metadata import METADATA
from mgmt.catalog.schema import migrate, soundness
from mgmt.catalog.schema.backup import backup
from mgmt.progress import NoProgress
from mgmt.services.prune import prune
from mgmt.services.steps.context import Context
from tests.postgresql import GIVEN, PostgreSQL, own_postgresql

MEMBERS = 10_000
"""Of each archive, as in the other benchmarks of the catalog."""

CHUNK = 1_000
MIB = 1 << 20
Dump = Callable[[Path], object]


def main(arguments: list[str]) -> int:
    """Measure what is requested, and print each result as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dba")
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--from", dest="old", default="0001", help="the revision that is upgraded from")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args(arguments)
    print(f"{options.operations:,} operations, {options.members:,} members, schema {options.old} and {HEAD}\n")
    print("| | | |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="mgmt-dba-") as temporary:
        folder = Path(temporary)
        if options.only != "postgresql":
            url = f"sqlite:///{folder}/catalog.db"
            other = f"sqlite:///{folder}/other.db"
            for what, figure in _measured(url, other, options, folder, lambda copy: backup(Database(url), str(copy))):
                print(f"| SQLite | {what} | {figure} |", flush=True)
        if options.only != "sqlite":
            with _postgresql() as (url, other, dump):
                for what, figure in _measured(url, other, options, folder, dump):
                    print(f"| PostgreSQL | {what} | {figure} |", flush=True)
    return 0


def _measured(
    url: str, other: str, options: argparse.Namespace, folder: Path, dump: Dump | None
) -> Iterator[tuple[str, str]]:
    """Each figure and its description; on SQLite, an upgrade and a downgrade include a backup.

    `url` and `other` are the URLs of empty databases.
    """
    with closing(open_catalog(url)) as catalog:
        database = catalog.database
        migrate.upgrade(database)
        yield "record the members", _seconds(lambda: _add_members(catalog, options.members))
        _add_operations(database, options.operations)
        yield "size", _size(database)
        if dump is not None:
            copy = folder / "copy"
            yield f"back up ({'db backup' if database.is_sqlite else 'pg_dump -Fc'})", _seconds(lambda: dump(copy))
            yield "size of the backup", f"{copy.stat().st_size / MIB:,.0f} MiB"
            copy.unlink()
        yield "db check", _seconds(lambda: _check(database))
        yield f"db downgrade {options.old}", _seconds(lambda: _without_copy(migrate.downgrade(database, options.old)))
        yield f"size at {options.old}", _size(database)
        yield "db upgrade", _seconds(lambda: _without_copy(migrate.upgrade(database)))
        yield "index the names again", _seconds(catalog.members.index_names)
        yield "size after it", _size(database)
        _check(database)
        yield "audit verify", _seconds(lambda: _verify(catalog))
        exported = folder / "export"
        yield "db export --no-members", _seconds(lambda: _export(database, exported))
        yield "db import of that into an empty catalog", _seconds(lambda: _import(other, exported))
        yield "db prune of all that may go", _seconds(lambda: _prune(catalog, folder))
        yield "operations that stay", _operations(catalog)
        _check(database)


def _seconds(work: Callable[[], object]) -> str:
    began = time.monotonic()
    work()
    return f"{time.monotonic() - began:,.1f} s"


def _size(database: Database) -> str:
    """The size on disk, once everything is written."""
    if database.path is not None:
        database.close()  # merges the write-ahead log into the file
        return f"{os.path.getsize(database.path) / MIB:,.0f} MiB"
    with database.connection() as connection:
        size = connection.scalar(text("SELECT pg_database_size(current_database())"))
    return f"{(size or 0) / MIB:,.0f} MiB"


def _check(database: Database) -> None:
    if problems := soundness.check(database):
        raise SystemExit(f"{database.name}: {problems}")


def _verify(catalog: Catalog) -> None:
    for finding in catalog.audit.verification().findings():
        raise SystemExit(f"{finding}")


def _export(database: Database, path: Path) -> None:
    with open(path, "wb") as file, compressed(file) as out:
        export(database, cast("BinaryIO", out), members=False)


def _import(url: str, path: Path) -> None:
    with closing(open_catalog(url)) as catalog, open(path, "rb") as file:
        migrate.upgrade(catalog.database)
        import_history(catalog.database, file)
    path.unlink()


def _prune(catalog: Catalog, folder: Path) -> None:
    before = PruneFilter(datetime.now(UTC))
    file = folder / f"pruned-{catalog.database.url.get_backend_name()}.gz"
    prune(before, str(file), Context(_no_store, catalog, NoProgress()))


def _no_store(_: object) -> NoReturn:
    raise SystemExit("nothing is stored here")


def _operations(catalog: Catalog) -> str:
    with catalog.database.connection() as connection:
        return f"{connection.scalar(text('SELECT count(*) FROM operations')) or 0:,}"


def _without_copy(copy: str | None) -> None:
    """Remove the backup that a migration has made."""
    if copy is not None:
        os.unlink(copy)


def _add_members(catalog: Catalog, members: int) -> None:
    for number, first in enumerate(range(0, members, MEMBERS)):
        with catalog.transaction():
            record = a_record(catalog, f"{number}.tar.gz")
            catalog.members.record(record.id, collection.archive(number, min(MEMBERS, members - first)))
    catalog.members.index_names()


def _add_operations(database: Database, operations: int) -> None:
    """The history of a busy team, the same on both databases."""
    names = {table: [each.strip() for each in columns.split(",")] for table, columns in history.TABLES.items()}
    for first in range(1, operations + 1, CHUNK):
        rows: dict[str, list[dict[str, Any]]] = {table: [] for table in names}
        for number in range(first, min(first + CHUNK, operations + 1)):
            for table, values in history.operation(number):
                columns = METADATA.tables[table].columns
                pairs = zip(names[table], values, strict=True)
                rows[table].append({name: _as_typed(columns[name], value) for name, value in pairs})
        with database.transaction() as session:
            for table, each in rows.items():
                if each:
                    session.execute(insert(METADATA.tables[table]), each)
            if not database.is_sqlite:  # so that the next numbers follow
                session.execute(
                    text("SELECT setval(pg_get_serial_sequence('operations', 'seq'), max(seq)) FROM operations")
                )


def _as_typed(column: Column[Any], value: Any) -> Any:
    """Convert a value of the history, which has SQLite's types, to the type of the column."""
    kind = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    match kind:
        case DateTime():
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        case JSON():
            return json.loads(value)
        case Boolean():
            return bool(value)
        case _:
            return value


@contextmanager
def _postgresql() -> Iterator[tuple[str, str, Dump | None]]:
    """The URLs of two empty databases, and a function that dumps the first, if pg_dump is installed."""
    if GIVEN:
        given = PostgreSQL(GIVEN)
        with given.database() as url, given.database() as other:
            yield url, other, _pg_dump(shutil.which("pg_dump"), url)
        return
    with own_postgresql("fsync=on") as server, server.database() as url, server.database() as other:
        yield url, other, _pg_dump(shutil.which("pg_dump", path=server.programs), url)


def _pg_dump(program: str | None, url: str) -> Dump | None:
    if program is None:
        return None
    return lambda copy: subprocess.run([program, "-Fc", "-f", copy, url], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
