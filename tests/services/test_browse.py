"""What the pages of `mgmt browse` have to show."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from mgmt.catalog import (
    Catalog,
    open_catalog,
)
from mgmt.errors import ConfigurationError, NotFoundError
from mgmt.services import browse
from tests.program import Program


@pytest.fixture
def catalog(on_directory: Program) -> Iterator[Catalog]:
    """Archives of three folders, one of them with many files."""
    for name in ("Lisbon", "lisa", "many"):
        (on_directory.work / name / "inner").mkdir(parents=True)
        (on_directory.work / name / "Lisbon.txt").write_text(name)
    for number in range(7):
        (on_directory.work / "many" / "inner" / f"{number}").write_text("x")
    on_directory.ok("upload", "Lisbon", "lisa", "many")
    with closing(open_catalog(on_directory.records.url)) as catalog:
        yield catalog


def test_a_word_is_completed_whatever_its_case(catalog: Catalog) -> None:
    for word in ("LIS", "lis", "Lis", "lIS"):
        found = browse.complete(word, catalog, limit=10)
        assert [each.path for each in found.archives if each.path.startswith("lisa")]
        assert {member.path for member, _ in found.members} >= {"Lisbon/Lisbon.txt", "lisa/Lisbon.txt"}
        assert not found.is_whole
    assert browse.complete("li", catalog, limit=10).members == []
    assert len(browse.complete("lis", catalog, limit=1).archives) == 1
    assert browse.complete("", catalog, limit=10) == browse.Found(archives=[], members=[], is_whole=False)


def test_a_deleted_archive_is_found_but_neither_completed_nor_listed(on_directory: Program, catalog: Catalog) -> None:
    on_directory.ok("delete", "lisa.tar.gz", "--yes", "--last-copy")
    assert [each.path for each in browse.complete("lisa", catalog, limit=10).archives] == []
    assert "lisa.tar.gz" not in [each.path for each in browse.archives(catalog, limit=10)]
    (found,) = browse.find("lisa.tar", catalog, limit=10).archives
    assert found.status.value == "deleted"
    assert browse.archive(found.id, catalog).archive is found


def test_a_folder_is_paged_without_gaps(catalog: Catalog) -> None:
    number = next(each.id for each in browse.archives(catalog, limit=10) if each.path == "many.tar.gz")
    after, names = None, []
    while True:
        page = browse.folder(number, "many/inner", catalog, limit=3, after=after)
        names += [each.path.rpartition("/")[2] for each in page.entries]
        if (after := page.after) is None:
            break
    assert names == [str(each) for each in range(7)]
    assert [each.path for each in browse.folder(number, "", catalog, limit=3).entries] == ["many"]
    assert browse.folder(number, "many/none", catalog, limit=3).entries == []
    with pytest.raises(NotFoundError):
        browse.folder(10**6, "", catalog, limit=3)


@pytest.mark.parametrize(
    "month", ["2026-13", "2026", "x", "2026-1-1", "2026-1", "٢٠٢٦-11", " 2026-11", "9999-12", "0000-01", "2026-11\n"]
)
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(ConfigurationError, match="is no month"):
        browse.wanted("", "", month)


def test_a_month_ends_where_the_next_begins(catalog: Catalog) -> None:
    now = datetime.now(UTC)
    before = (now.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    for month, count in ((now.strftime("%Y-%m"), 4), (before, 0), ("2999-12", 0), ("1970-01", 0)):
        assert len(browse.operations(browse.wanted("", "", month), catalog, limit=10)) == count, month
