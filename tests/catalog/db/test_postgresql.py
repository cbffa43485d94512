"""PostgreSQL as administrators set it up: poolers, one connection, encodings, schemas."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from sqlalchemy import text

from mgmt.catalog import Catalog, FileRecord, Location, SearchRecord, UploadRecord, open_catalog
from mgmt.catalog.db import commit_recovery
from mgmt.catalog.schema import migrate, soundness
from mgmt.errors import CatalogError
from mgmt.progress import NoProgress
from mgmt.services.steps.context import Context
from mgmt.services.steps.workers import Task, Workers
from mgmt.storage import open_store
from tests import pgbouncer
from tests.catalogs import PostgreSQLCatalog
from tests.postgresql import PostgreSQL
from tests.program import Program
from tests.waiting import until

COMMANDS = (
    "upload notes one two three",
    *["search notes"] * 3,
    "log",
    "ls",
    "status notes",
    "download notes --to back",
    "verify --all",
    "audit verify",
    "db check",
    "doctor",
    "db export history.jsonl",
    "db import history.jsonl",
    "db upgrade",
    "free notes --yes",
    "recover",
    "db prune --before 0s --type search --yes --export old.gz",
)


class _Fixed:
    """A single catalog, whatever the home."""

    def __init__(self, url: str) -> None:
        self._catalog: Any = PostgreSQLCatalog(None, url, "")  # type: ignore[arg-type]

    def at(self, _home: Path) -> Any:
        return self._catalog


def run_everything(url: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    program = Program(tmp_path, f"file://{tmp_path}/store", catalogs=_Fixed(url))  # type: ignore[arg-type]
    (program.work / "notes").mkdir()
    for name in ("notes/été", "one", "two", "three"):
        (program.work / name).write_text(name)
    for line in COMMANDS:
        done = program.run(*line.split())
        assert done.returncode == 0, (line, done.stderr)
        assert "recorded" not in done.stderr, (line, done.stderr)


@pytest.fixture
def pooled(postgresql_server: PostgreSQL) -> Iterator[str]:
    if pgbouncer.program() is None:
        pytest.skip("there is no pgbouncer: a pooler was not tried")
    with postgresql_server.database() as url, pgbouncer.pooled(postgresql_server, url) as through:
        yield through


def test_every_command_works_through_a_pooler(pooled: str, tmp_path: Path) -> None:
    run_everything(pooled, tmp_path)


def test_processes_share_the_sessions_of_a_pooler(pooled: str) -> None:
    """Each runs the same statements often enough that psycopg would prepare them, under the same names."""
    some = [open_catalog(pooled) for _ in range(3)]
    for number in range(8):
        for each, catalog in enumerate(some):
            with catalog.journal.record(UploadRecord(target_path=f"/{each}/{number}"), claim=f"/{each}"):
                file = FileRecord(path=f"/{each}/{number}", location=Location.LOCAL, host="h")
                catalog.metadata.save_file_record(file)
    assert len(some[0].metadata.list_operations()) == 24
    for catalog in some:
        catalog.close()
    assert list(some[0].audit.verification().findings()) == []
    some[0].close()


def test_a_write_through_a_pooler_does_not_wait_for_ever(pooled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is set in each transaction: a setting of the session would be one of another session."""
    monkeypatch.setattr(commit_recovery, "LOCK_SECONDS", 0.05)
    one, other = open_catalog(pooled), open_catalog(pooled)
    file = one.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="h"))
    with one.database.transaction() as session:
        session.execute(text("UPDATE files SET size = 1"))
        with pytest.raises(CatalogError, match="locked by another session"), other.database.transaction() as waiting:
            waiting.execute(text("UPDATE files SET size = 2 WHERE id = :id"), {"id": file.id})
    one.close()
    other.close()


@pytest.fixture
def lonely(postgresql_server: PostgreSQL) -> Iterator[str]:
    """A database for a login that may have a single connection."""
    login = f"mgmt_lonely_{os.getpid()}"
    with postgresql_server.database() as url:
        postgresql_server.execute(
            f"CREATE ROLE {login} LOGIN CONNECTION LIMIT 1", f"GRANT ALL ON SCHEMA public TO {login}", url=url
        )
        split = urlsplit(url)
        yield urlunsplit(split._replace(netloc=f"{login}@{split.netloc.rpartition('@')[2]}"))
        postgresql_server.execute(f"DROP OWNED BY {login} CASCADE", f"DROP ROLE {login}", url=url)


def test_every_command_needs_one_connection(lonely: str, tmp_path: Path) -> None:
    run_everything(lonely, tmp_path)


@pytest.mark.parametrize(("limit", "beside"), [(1, 0), (2, 0), (3, 0), (4, 2), (9, 4)])
def test_workers_leave_a_connection_free(
    limit: int, beside: int, lonely: str, postgresql_server: PostgreSQL, tmp_path: Path
) -> None:
    """At once: no connection is waited for. Fewer than two are no use."""
    login = urlsplit(lonely).username
    postgresql_server.execute(f"ALTER ROLE {login} CONNECTION LIMIT {limit}")
    catalog = open_catalog(lonely)
    catalog.metadata.list_files()
    context = Context(lambda _: open_store(f"file://{tmp_path}"), catalog, NoProgress())
    workers: Workers[str] = Workers(4, context)
    assert workers.count == beside
    tasks = [Task[str](lambda own: own.catalog.database.name) for _ in range(3 if beside else 0)]
    for task in tasks:
        workers.submit(task)
    workers.dismiss()
    workers.join()
    assert {task.result for task in tasks} <= {catalog.database.name}
    catalog.close()


def test_an_operation_goes_on_if_its_heartbeat_gets_no_connection(lonely: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgmt.catalog.operations.heartbeat.INTERVAL_SECONDS", 0.01)
    catalog = open_catalog(lonely)
    with catalog.journal.record(UploadRecord(target_path="/a")) as upload:
        for number in range(20):
            upload.stage = str(number)
            catalog.journal.checkpoint()
            catalog.metadata.list_operations()
    assert upload.completed_at is not None
    catalog.close()


def connect(lonely: str) -> psycopg.Connection:
    """Connect as soon as the server has noticed that the previous connection is closed."""
    connected: list[psycopg.Connection] = []

    def attempt() -> bool:  # pg_stat_activity forgets a session before the limit does
        try:
            connected.append(psycopg.connect(lonely))
        except psycopg.OperationalError as error:
            if "too many connections" not in str(error):
                raise
        return bool(connected)

    until(attempt, "a free connection")
    return connected[0]


def test_a_server_without_a_free_connection_is_asked_again(lonely: str, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = open_catalog(lonely)
    catalog.metadata.list_files()
    catalog.close()
    other = connect(lonely)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        other.close()

    monkeypatch.setattr("time.sleep", wait)
    assert catalog.metadata.list_files() == []
    assert waits
    catalog.close()
    monkeypatch.setattr(commit_recovery, "CONNECT_SECONDS", 0.0)
    with closing(connect(lonely)), pytest.raises(CatalogError, match="too many connections"):
        catalog.metadata.list_files()


def in_encoding(server: PostgreSQL, encoding: str) -> str:
    name = f"mgmt_encoding_{os.getpid()}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    return urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_no_catalog_is_created_in_another_encoding_than_utf8(encoding: str, postgresql_server: PostgreSQL) -> None:
    url = in_encoding(postgresql_server, encoding)
    catalog = open_catalog(url)
    for create in (catalog.metadata.list_files, lambda: migrate.upgrade(catalog.database)):
        with pytest.raises(CatalogError, match=f"has the encoding {encoding}") as caught:
            create()
        assert "--encoding UTF8" in str(caught.value.next_step)
    with catalog.database.connection() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")) == 0
    catalog.close()
    postgresql_server.drop_database(url)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_an_existing_catalog_in_another_encoding_is_usable(
    encoding: str, postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that it cannot hold are refused before anything starts."""
    url = in_encoding(postgresql_server, encoding)
    catalog = open_catalog(url)
    with monkeypatch.context() as patched:
        patched.setattr("mgmt.catalog.db.database._refuse_encoding", lambda *_: None)
        migrate.upgrade(catalog.database)
    with catalog.journal.record(SearchRecord(keyword="été")):
        pass
    catalog.metadata.save_file_record(FileRecord(path="/été", location=Location.LOCAL, host="h"))
    other = FileRecord(path="/日本", location=Location.LOCAL, host="h")
    if encoding == "LATIN1":
        with pytest.raises(CatalogError, match="cannot store this name") as caught:
            catalog.metadata.save_file_record(other)
        assert "createdb" in str(caught.value.next_step)
    else:
        catalog.metadata.save_file_record(other)
    assert [file.name for file in catalog.metadata.list_files()] == ["été", *["日本"] * (encoding != "LATIN1")]
    assert list(catalog.audit.verification().findings()) == []
    (found,) = soundness.check(catalog.database)
    assert f"has the encoding {encoding}" in found.message
    catalog.close()
    postgresql_server.drop_database(url)


def with_search_path(url: str, path: str) -> str:
    return f"{url}?options=-c%20search_path%3D{path}"


@pytest.mark.parametrize("installed_in", ["public", "extensions"])
def test_a_catalog_in_a_schema_of_its_own(
    installed_in: str, postgresql_server: PostgreSQL, make_archive: Callable[..., FileRecord], make_member: Any
) -> None:
    """Beside other tables, and with the extension outside of the `search_path`."""
    with postgresql_server.database() as url:
        postgresql_server.execute("CREATE TABLE recipes (id integer)", "CREATE SCHEMA archive", url=url)
        if installed_in != "public":
            postgresql_server.execute(f"CREATE SCHEMA {installed_in}", url=url)
        has_trigrams = _install(postgresql_server, url, installed_in)
        other = open_catalog(url)
        with pytest.raises(CatalogError, match="contains other tables, such as recipes") as caught:
            other.metadata.list_files()
        other.close()
        assert "CREATE SCHEMA mgmt" in str(caught.value.next_step)

        catalog = open_catalog(with_search_path(url, "archive"))
        archive = catalog.metadata.save_file_record(make_archive("a.tar.gz"))
        catalog.members.record(archive.id, [make_member("holiday/whale.jpg")])
        assert [member.path for member, _ in catalog.members.search("WHALE")] == ["holiday/whale.jpg"]
        assert soundness.check(catalog.database) == []
        _has_index(catalog, expected=has_trigrams)
        if has_trigrams:
            with catalog.database.connection() as connection:
                connection.execute(text("DROP INDEX member_names"))
            migrate.upgrade(catalog.database)
            _has_index(catalog, expected=True)
        migrate.downgrade(catalog.database, "base")
        catalog.close()


def _install(server: PostgreSQL, url: str, schema: str) -> bool:
    try:
        server.execute(f"CREATE EXTENSION pg_trgm SCHEMA {schema}", url=url)
    except psycopg.Error:
        return False
    return True


def _has_index(catalog: Catalog, *, expected: bool) -> None:
    with catalog.database.connection() as connection:
        assert bool(connection.scalar(text("SELECT to_regclass('member_names')"))) == expected


def test_the_server_knows_which_program_is_connected(postgresql_server: PostgreSQL) -> None:
    with postgresql_server.database() as url:
        for given, name in (("", "mgmt"), ("?application_name=nightly", "nightly")):
            catalog = open_catalog(url + given)
            catalog.metadata.list_files()
            with catalog.database.connection() as connection:
                assert connection.scalar(text("SHOW application_name")) == name
            catalog.close()
