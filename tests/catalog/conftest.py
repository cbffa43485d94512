"""Catalogs on SQLite and PostgreSQL."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, open_catalog
from tests.postgresql import PostgreSQL


@dataclass(frozen=True)
class Member:
    path: str
    type: str = "f"
    mode: int = 0o644
    mtime_ns: int = 1_700_000_000_123_456_789
    size: int = 5
    header_offset: int = 0
    data_offset: int = 512
    sha256: bytes | None = b"\xab" * 32
    link: str | None = None


@pytest.fixture(scope="session")
def new_catalog(postgresql_server: PostgreSQL) -> str:
    """The URL of a new catalog, to which all migrations have been applied."""
    url = postgresql_server.create_database()
    catalog = open_catalog(url)
    catalog.metadata.list_files()
    catalog.close()
    return url


@pytest.fixture
def template(new_catalog: str) -> str | None:
    """The URL of the database that each PostgreSQL database is a copy of; None for an empty one."""
    return new_catalog


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind for a catalog of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog/catalog.db"
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        url = server.create_database(request.getfixturevalue("template"))
        yield url
        server.drop_database(url)


@pytest.fixture
def reopen(url: str) -> Iterator[Callable[[], Catalog]]:
    """Open the same catalog again, as another process would."""
    opened: list[Catalog] = []

    def again() -> Catalog:
        opened.append(open_catalog(url))
        return opened[-1]

    yield again
    for each in opened:
        each.close()


@pytest.fixture
def catalog(reopen: Callable[[], Catalog]) -> Catalog:
    return reopen()


@pytest.fixture
def sqlite_catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An SQLite catalog, for tests of its file."""
    opened = open_catalog(f"sqlite:///{tmp_path}/catalog/catalog.db")
    yield opened
    opened.close()


@pytest.fixture
def make_archive() -> Callable[..., FileRecord]:
    """Create a record of an archive with this key."""

    def make(key: str, **facts: object) -> FileRecord:
        given = {"status": FileStatus.COMPLETED, "store": "file:///store", **facts}
        return FileRecord(path=key, location=Location.S3, s3_object_key=key, **given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_member() -> type[Member]:
    return Member


@pytest.fixture
def explained() -> Callable[[Catalog], list[str]]:
    """Collect the query plans of an SQLite catalog from now on."""

    def listen(catalog: Catalog) -> list[str]:
        plans: list[str] = []
        catalog.metadata.list_files()

        def explain(connection: Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            driver = connection.connection.driver_connection
            assert driver is not None
            plans.extend(row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

        event.listen(catalog.database.bind(), "before_cursor_execute", explain)
        return plans

    return listen
