"""The index of names on PostgreSQL, with and without the extension pg_trgm."""

import os
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import text

from mgmt.catalog import Catalog, FileRecord, open_catalog
from mgmt.catalog.schema import migrate, soundness
from tests.postgresql import PostgreSQL

NAMES = ("IMG_0001.jpg", "Étude.mkv", "100%_sure", "wedding.mov", "a b", "ÅNGSTRÖM", "x")
WORDS = ("img", "étude", "ÉTUDE", "%_", "ding", "ed", " ", "ångs", "X", "nothing like it")


@pytest.fixture
def url(postgresql_server: PostgreSQL) -> Iterator[str]:
    with postgresql_server.database() as url:
        yield url


@pytest.fixture
def as_poor(postgresql_server: PostgreSQL, url: str) -> Iterator[str]:
    """The same database for a login that can create tables, but no extensions."""
    poor = f"mgmt_poor_{os.getpid()}"
    postgresql_server.execute(
        f"CREATE ROLE {poor} LOGIN PASSWORD 'poor'", f"GRANT ALL ON SCHEMA public TO {poor}", url=url
    )
    split = urlsplit(url)
    yield urlunsplit(split._replace(netloc=f"{poor}:poor@{split.netloc.rpartition('@')[2]}"))
    postgresql_server.execute(f"DROP OWNED BY {poor} CASCADE", f"DROP ROLE {poor}", url=url)


def is_to_be_had(url: str) -> bool:
    catalog = open_catalog(url)
    with catalog.database.connection() as connection:
        found = connection.scalar(text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'"))
    catalog.close()
    return bool(found)


def is_indexed(catalog: Catalog) -> bool:
    with catalog.database.connection() as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('member_names')"
        return bool(connection.scalar(text(valid)))


def stock(
    catalog: Catalog, make_archive: Callable[..., FileRecord], make_member: Callable[..., object], more: int = 0
) -> None:
    archive = catalog.metadata.save_file_record(make_archive("a.tar.gz"))
    members = [make_member(f"folder/{name}") for name in NAMES]
    members += [make_member(f"folder/take {number:06}") for number in range(more)]
    catalog.members.record(archive.id, members)  # type: ignore[arg-type]


def found(catalog: Catalog) -> dict[str, list[str]]:
    return {word: [member.path for member, _ in catalog.members.search(word)] for word in WORDS}


def expected() -> dict[str, list[str]]:
    return {word: [f"folder/{name}" for name in NAMES[::-1] if word.casefold() in name.casefold()] for word in WORDS}


def test_names_are_indexed_with_the_extension(
    url: str, make_archive: Callable[..., FileRecord], make_member: Callable[..., object]
) -> None:
    if not is_to_be_had(url):
        pytest.skip("this PostgreSQL has no pg_trgm: its index was not tried")
    catalog = open_catalog(url)
    stock(catalog, make_archive, make_member)
    assert is_indexed(catalog)
    assert found(catalog) == expected()
    assert soundness.check(catalog.database) == []
    catalog.close()


def test_the_index_is_used(
    url: str, make_archive: Callable[..., FileRecord], make_member: Callable[..., object]
) -> None:
    if not is_to_be_had(url):
        pytest.skip("this PostgreSQL has no pg_trgm: its index was not tried")
    catalog = open_catalog(url)
    stock(catalog, make_archive, make_member, more=20_000)
    with catalog.database.connection() as connection:
        connection.execute(text("ANALYZE members"))
        scans = text("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'member_names'")
    assert [member.path for member, _ in catalog.members.search("wedding")] == ["folder/wedding.mov"]
    catalog.close()
    with catalog.database.connection() as connection:
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        assert connection.scalar(scans) == 1
    catalog.close()


def test_search_works_without_the_extension_and_upgrade_creates_the_index_later(
    postgresql_server: PostgreSQL,
    url: str,
    as_poor: str,
    make_archive: Callable[..., FileRecord],
    make_member: Callable[..., object],
) -> None:
    catalog = open_catalog(as_poor)
    stock(catalog, make_archive, make_member)
    assert not is_indexed(catalog)
    assert found(catalog) == expected()
    migrate.upgrade(catalog.database)
    assert not is_indexed(catalog)
    assert soundness.check(catalog.database) == []
    if is_to_be_had(url):
        postgresql_server.execute("CREATE EXTENSION pg_trgm", url=url)
        migrate.upgrade(catalog.database)
        assert is_indexed(catalog)
        assert found(catalog) == expected()
        assert soundness.check(catalog.database) == []
    catalog.close()


def test_an_invalid_index_is_recreated(
    postgresql_server: PostgreSQL,
    url: str,
    make_archive: Callable[..., FileRecord],
    make_member: Callable[..., object],
) -> None:
    """Leave an invalid index, as a connection lost during its creation does."""
    if not is_to_be_had(url):
        pytest.skip("this PostgreSQL has no pg_trgm: its index was not tried")
    catalog = open_catalog(url)
    stock(catalog, make_archive, make_member)
    postgresql_server.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('member_names')", url=url
    )
    assert not is_indexed(catalog)
    migrate.upgrade(catalog.database)
    assert is_indexed(catalog)
    assert found(catalog) == expected()
    catalog.close()
