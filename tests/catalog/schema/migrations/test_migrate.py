"""Schema migrations: upgrade and downgrade, atomically."""

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.dialects import postgresql

from mgmt.catalog import (
    HEAD,
    Catalog,
    FileStatus,
    Location,
    Status,
)
from mgmt.catalog.audit import triggers
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.metadata import METADATA
from mgmt.catalog.schema import migrate, soundness
from mgmt.catalog.schema.pg_expressions import INDEXES
from mgmt.errors import CatalogError, ConfigurationError
from tests.catalog.schema.migrations.dumps import contents, objects


def test_the_head_is_alembics_head() -> None:
    newest = migrate.history()[0]
    assert (newest.revision, newest.is_head) == (HEAD, True)
    assert [step.previous for step in migrate.history()] == [*(step.revision for step in migrate.history()[1:]), None]
    assert all(step.summary for step in migrate.history())


def test_upgrade_and_downgrade_of_an_empty_database(catalog: Catalog) -> None:
    database = catalog.database
    assert migrate.current(database) is None
    migrate.upgrade(database)
    assert migrate.current(database) == HEAD
    assert soundness.check(database) == []
    migrate.downgrade(database, "base")
    assert migrate.current(database) is None
    with database.connection() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    catalog.metadata.list_files()
    assert migrate.current(database) == HEAD


def test_every_revision_can_be_downgraded_and_upgraded_again(catalog: Catalog) -> None:
    database = catalog.database
    for step in reversed(migrate.history()):
        migrate.upgrade(database, step.revision)
        migrate.downgrade(database, step.previous or "base")
        migrate.upgrade(database, step.revision)
        assert migrate.current(database) == step.revision
    assert soundness.check(database) == []


def parts(statement: str) -> list[str]:
    """The sorted parts of a CREATE TABLE, as a migration may add a column at the end."""
    depth, found = 0, [""]
    for character in " ".join(statement.split()):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (depth, character) in ((1, "("), (1, ","), (0, ")")):
            found.append("")
        else:
            found[-1] += character
    return [part.strip() for part in found]


def described(engine: Engine) -> dict[str, object]:
    """The whole schema: columns, constraints, indexes and triggers, with their conditions."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            made = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
            found = {name: sorted(parts(sql)) for name, sql in made}
        else:
            columns = connection.execute(
                text(
                    "SELECT table_name, column_name, data_type, is_nullable, collation_name, is_identity "
                    "FROM information_schema.columns WHERE table_schema = 'public'"
                )
            )
            constraints = connection.execute(
                text(
                    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
                    "WHERE connamespace = 'public'::regnamespace"
                )
            )
            indexes = connection.execute(text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"))
            found = {f"{row[0]}.{row[1]}": list(row[2:]) for row in columns}
            found |= {name: [said] for name, said in [*constraints, *indexes, *triggers.existing(connection).items()]}
    return {name: said for name, said in found.items() if not name.startswith(("alembic", "member_names", *INDEXES))}


def test_the_migrated_schema_matches_the_models(catalog: Catalog, tmp_path: Path) -> None:
    database = catalog.database
    migrate.upgrade(database)
    migrated = described(database.bind())
    migrate.downgrade(database, "base")
    with database.migrating() as connection:
        METADATA.create_all(connection)
    assert described(database.bind()) == migrated
    assert len(migrated) > 30


def test_an_upgrade_creates_a_backup(old: str) -> None:
    before = contents(old)
    database = Database(f"sqlite:///{old}")
    told = migrate.upgrade(database)
    assert migrate.upgrade(database) is None
    (backup,) = [name for name in os.listdir(os.path.dirname(old)) if name.endswith(".backup")]
    path = f"{os.path.dirname(old)}/{backup}"
    assert told == path
    assert re.fullmatch(r"catalog\.db\.0001-\d{8}T\d+Z\.backup", backup)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert contents(path) == before
    assert Database(f"sqlite:///{path}").revision() == "0001"
    database.close()


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("each", [9, pytest.param(1, marks=pytest.mark.torture)])
@pytest.mark.parametrize("way", ["up", "down", "from nothing"])
def test_a_migration_that_fails_at_any_statement_changes_nothing(way: str, each: int, old: str) -> None:
    database = Database(f"sqlite:///{old}")
    if way == "down":
        migrate.upgrade(database)
    if way == "from nothing":
        database = Database(f"sqlite:///{old}-new")
        migrate.upgrade(database, "0001")
        migrate.downgrade(database, "base")
    path = str(database.path)
    before, made = contents(path), objects(path)
    left = 0

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stop

    with database.migrating() as connection:
        event.listen(connection.engine, "before_cursor_execute", count)
    for step in range(1, 400, each):
        left = step
        try:
            migrate.downgrade(database, "0001") if way == "down" else migrate.upgrade(database)
        except Stop:
            database.close()
            assert (contents(path), objects(path)) == (before, made)
        else:
            break
    assert step > 5
    left = 0
    assert migrate.current(database) == ("0001" if way == "down" else HEAD)
    assert way == "down" or soundness.check(database) == []
    database.close()


KILLED = """
import os, signal, sys
from sqlalchemy import event
from mgmt.catalog.schema import migrate
from mgmt.catalog.db.database import Database
database = Database(sys.argv[1])
with database.migrating() as connection:
    engine = connection.engine
@event.listens_for(engine, "before_cursor_execute")
def look(connection, cursor, statement, *_):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)
migrate.upgrade(database)
"""


@pytest.mark.parametrize("at", ["CREATE TABLE member_names_mark", "UPDATE alembic_version", "PRAGMA foreign_key_check"])
def test_a_killed_migration_can_be_run_again(at: str, old: str) -> None:
    before, made = contents(old), objects(old)
    done = subprocess.run([sys.executable, "-c", KILLED, f"sqlite:///{old}", at], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (contents(old), objects(old)) == (before, made)
    database = Database(f"sqlite:///{old}")
    migrate.upgrade(database)
    assert soundness.check(database) == []
    assert contents(old) == before
    database.close()


def test_a_migration_that_would_orphan_rows_is_refused(old: str) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("DELETE FROM directories")
        connection.commit()
    database = Database(f"sqlite:///{old}")
    with pytest.raises(CatalogError, match="would be orphaned"):
        migrate.upgrade(database)
    assert migrate.current(database) == "0001"
    database.close()


@pytest.mark.parametrize("move", [migrate.upgrade, lambda database: migrate.downgrade(database, "base")])
def test_a_newer_schema_is_not_changed(move: Callable[[Database], None], catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with catalog.database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CatalogError, match="was not changed"):
        move(catalog.database)
    assert migrate.current(catalog.database) == "9999"


def test_an_unknown_revision_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="unknown revision nonsense"):
        migrate.upgrade(catalog.database, "nonsense")
    assert migrate.current(catalog.database) is None
    with pytest.raises(ConfigurationError, match="unknown revision nonsense"):
        migrate.sql("sqlite", "nonsense:head")
    with pytest.raises(ConfigurationError, match="unknown dialect oracle"):
        migrate.sql("oracle")


def test_every_query_is_valid_on_postgresql(sqlite_catalog: Catalog) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    asked: list[str] = []
    metadata = sqlite_catalog.metadata
    metadata.list_files()

    def translate(_connection: object, query: object, *_: object) -> None:
        if hasattr(query, "compile"):
            asked.append(str(query.compile(dialect=dialect)))

    event.listen(sqlite_catalog.database.bind(), "before_execute", translate)
    metadata.list_operations("upload", Status.SUCCESS, user="u", target="t", parent="p")
    metadata.list_files("a", Location.S3, FileStatus.COMPLETED)
    metadata.search_files("a_%", tags={"a": "b"})
    metadata.find("a")
    sqlite_catalog.members.search("a/b")
    sqlite_catalog.members.search("ab")
    sqlite_catalog.members.list(1, "a/b")
    assert len(asked) >= 9
    assert any("ILIKE" in query for query in asked)
