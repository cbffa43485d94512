"""The keys for completion are those that `list_files` gives, without an ORM."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mgmt.catalog import FileRecord, FileStatus, Location, archive_keys, open_catalog
from mgmt.catalog.files import archive_keys as module

pytestmark = pytest.mark.sqlite

KEYS = (
    "a", "a b", "a%", "a_b", "ab", "ab/c", "abc", "Ab", "b", "z", "~", "é", "aé", "a\U0001f3a5", "a\udcff", "\x7f",
    "a\x7f",
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A catalog with archives of every status, local files and two stores."""
    path = tmp_path / "catalog" / "with % # in it" / "catalog.db"
    catalog = open_catalog(f"sqlite:///{path}")
    with catalog.transaction():
        for store in ("s3://one", "s3://two"):
            for number, key in enumerate(KEYS):
                status = FileStatus.DELETED if number % 5 == 4 else FileStatus.COMPLETED
                record = FileRecord(path=f"{key}.tar.gz", location=Location.S3, store=store, status=status)
                catalog.metadata.save_file_record(record)
        catalog.metadata.save_file_record(FileRecord(path="abc", location=Location.LOCAL, host="here"))
    catalog.close()
    return path


def by_orm(path: Path, prefix: str, limit: int) -> list[str]:
    catalog = open_catalog(f"sqlite:///{path}", create=False)
    found = [each.path for each in catalog.metadata.list_files(prefix, Location.S3, FileStatus.COMPLETED, limit=limit)]
    catalog.close()
    return found


@pytest.mark.parametrize("limit", [1, 3, 200])
@pytest.mark.parametrize("prefix", ["", "a", "A", "ab", "ab/", "a%", "a_", "z", "~", "\x7f", "no such"])
def test_they_are_those_of_the_orm(path: Path, prefix: str, limit: int) -> None:
    found = archive_keys(f"sqlite:///{path}", prefix, limit)
    assert found == by_orm(path, prefix, limit)


def test_only_the_orm_can_tell_for_a_prefix_that_is_not_ascii(path: Path) -> None:
    assert archive_keys(f"sqlite:///{path}", "aé", 9) is None
    assert by_orm(path, "aé", 9)


@pytest.mark.parametrize(
    "url", ["postgresql://me@there/catalog", "sqlite:///relative.db", "sqlite://", "sqlite:///", "sqlite:////none/x.db"]
)
def test_only_the_orm_can_tell_for_another_catalog(url: str) -> None:
    assert archive_keys(url, "a", 9) is None


def test_a_parameter_of_the_url_is_left_to_sqlalchemy(path: Path) -> None:
    assert archive_keys(f"sqlite:///{path}?timeout=3", "a", 9) is None


def test_there_is_none_in_a_catalog_of_another_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert archive_keys(f"sqlite:///{path}", "a", 9) == []


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_another_file_is_left_to_the_orm(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(content)
    assert archive_keys(f"sqlite:///{path}", "a", 9) is None
    assert path.read_bytes() == content


def test_nothing_is_left_behind(path: Path) -> None:
    before = sorted(os.listdir(path.parent))
    assert archive_keys(f"sqlite:///{path}", "a", 9)
    assert sorted(os.listdir(path.parent)) == before


def test_an_index_answers(path: Path) -> None:
    """There may be a million archives."""
    values = {"first": "a", "end": "b", "limit": 9}
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {module._KEYS}", values)]
    assert plan[0] == "SEARCH files USING INDEX ix_files_location_path (location=? AND path>? AND path<?)"
    assert not any("TEMP B-TREE" in step for step in plan)
