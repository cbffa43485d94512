"""A catalog that is opened to be read: whatever is tried, nothing is written."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from mgmt.catalog import Catalog, ReadOnly, UploadRecord, open_catalog
from mgmt.errors import CatalogError, ConfigurationError, ReadOnlyCatalogError
from tests.catalogs import Catalogs


@pytest.fixture
def url(tmp_path: Path, catalogs: Catalogs) -> str:
    found = catalogs.at(tmp_path).url
    with closing(open_catalog(found)) as catalog, catalog.journal.record(UploadRecord(target_path="/one")):
        pass
    return found


@pytest.fixture
def opened(url: str) -> Iterator[ReadOnly]:
    with closing(ReadOnly(url)) as opened:
        yield opened


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM operations",
        "UPDATE operations SET status = 'failed'",
        "INSERT INTO directories (path) VALUES ('x')",
        "CREATE TABLE x (y INTEGER)",
        "DROP TABLE members",
    ],
)
def test_no_statement_can_write(opened: ReadOnly, statement: str) -> None:
    with (
        opened.look() as database,
        pytest.raises(ReadOnlyCatalogError, match="read-only"),
        database.reading() as session,
    ):
        session.execute(text(statement))
    with opened.look() as database:
        assert len(Catalog(database).metadata.list_operations()) == 1


def test_no_transaction_begins_and_no_lock_is_taken(opened: ReadOnly, tmp_path: Path) -> None:
    with opened.look() as database, pytest.raises(ReadOnlyCatalogError, match="opened to be read only"):
        Catalog(database).metadata.save_operation(UploadRecord(target_path="/two"))


def test_each_look_sees_what_is_committed_by_then_and_blocks_no_writer(opened: ReadOnly, url: str) -> None:
    with opened.look() as database, closing(open_catalog(url)) as other:
        catalog = Catalog(database)
        assert len(catalog.metadata.list_operations()) == 1
        with other.journal.record(UploadRecord(target_path="/two")):
            pass
        assert len(catalog.metadata.list_operations()) == 2
    with opened.look() as database:
        assert len(Catalog(database).metadata.list_operations()) == 2


@pytest.mark.sqlite
def test_a_file_is_closed_after_each_look(opened: ReadOnly, tmp_path: Path) -> None:
    with opened.look() as database:
        Catalog(database).metadata.list_operations()
    open_files = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if each.isdigit()
                  and os.path.lexists(f"/proc/self/fd/{each}")]  # fmt: skip
    assert not [path for path in open_files if path.startswith(str(tmp_path))]


@pytest.mark.sqlite
def test_a_file_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    with (
        closing(ReadOnly(f"sqlite:///{tmp_path}/none.db")) as opened,
        pytest.raises(CatalogError, match="there is no catalog"),
        opened.look(),
    ):
        pass
    assert not (tmp_path / "none.db").exists()


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        ReadOnly("mysql://x/y")
