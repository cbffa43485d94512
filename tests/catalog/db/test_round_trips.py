"""A PostgreSQL catalog may be 40 ms away: what a command asks of it is counted by a proxy on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.catalog import FileRecord, Location, UploadRecord, open_catalog
from mgmt.errors import CatalogError
from tests.catalogs import PostgreSQLCatalogs, catalogs_on
from tests.faults.postgresql_proxy import Cut, Proxy, proxy
from tests.postgresql import PostgreSQL
from tests.program import Program

pytestmark = pytest.mark.postgresql


@pytest.fixture
def on_a_server(postgresql_server: PostgreSQL) -> Iterator[PostgreSQLCatalogs]:
    with catalogs_on(postgresql_server) as catalogs:
        yield catalogs


@pytest.fixture
def far(tmp_path: Path, on_a_server: PostgreSQLCatalogs) -> Program:
    """A program with a catalog that has one archive."""
    program = Program(tmp_path, f"file://{tmp_path}/store", {}, on_a_server)
    (program.work / "first").write_text("first")
    program.ok("upload", "first")
    return program


@contextmanager
def counted(program: Program) -> Iterator[tuple[Program, Proxy]]:
    with proxy(program.records.url) as between:
        yield replace(program, environment={**program.environment, "MGMT_CATALOG": between.url}), between


def trips(between: Proxy) -> int:
    """The requests that were answered: all but the end of a connection."""
    return len([request for request in between.asked if request[:1] != b"X"])


BUDGETS = {("ls",): 4, ("log",): 4, ("ls", "--members", "first"): 9, ("search", "first"): 29, ("upload", "second"): 84}


@pytest.mark.parametrize("command", BUDGETS, ids=" ".join)
def test_a_command_makes_few_round_trips(far: Program, command: tuple[str, ...]) -> None:
    """TLS takes two more, and a password two."""
    (far.work / "second").write_text("second")
    with counted(far) as (through, between):
        through.ok(*command)
        found = trips(between)
    assert found <= BUDGETS[command], "\n".join(str(each[:90]) for each in between.asked)


def test_a_transaction_begins_and_ends_in_two(far: Program) -> None:
    with proxy(far.records.url) as between:
        catalog = open_catalog(between.url)
        catalog.metadata.save_operation(UploadRecord(target_path="/a"))
        between.reset()
        with catalog.transaction():
            pass
        assert [request[5:].split()[0].rstrip(b"\0") for request in between.asked] == [b"BEGIN", b"COMMIT"]
        catalog.close()


def test_a_connection_that_is_lost_between_transactions_is_replaced(
    far: Program, postgresql_server: PostgreSQL
) -> None:
    """Whether it was used just now, so that nobody has asked whether it is alive, or not."""
    catalog = open_catalog(far.records.url)
    name = far.records.url.rpartition("/")[2]
    for number in range(3):
        catalog.metadata.save_file_record(FileRecord(path=f"/{number}", location=Location.LOCAL, host="here"))
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        postgresql_server.execute(end)
    assert len(catalog.metadata.list_files("/", Location.LOCAL, host="here")) == 3
    catalog.close()


def test_a_transaction_that_cannot_begin_anywhere_is_an_error(far: Program) -> None:
    with proxy(far.records.url) as between:
        catalog = open_catalog(between.url)
        catalog.metadata.list_files()
        between.reset(Cut(1, times=10_000))
        with pytest.raises(CatalogError, match="cannot be reached"):
            catalog.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="here"))
        between.reset()
        catalog.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="here"))
        catalog.close()
