"""What a page lists is what SQL that is written here by hand finds: archives, and the operations of each month."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from mgmt.catalog import open_catalog
from mgmt.services.page import OPERATIONS_OF_A_MONTH, Listed, listed
from mgmt.services.report import Wanted, gather
from mgmt.services.steps.figures import Report
from mgmt.shown import human_size
from mgmt.web.report import report_page
from tests.catalogs import PostgreSQLCatalog, SQLiteCatalog
from tests.populated import NOW, populate, reader
from tests.postgresql import PostgreSQL

OPERATIONS = 4000
BAD = ("failed", "partial")


class Filled:
    """A catalog with many operations, what a page of it lists, and a reader of it in plain SQL."""

    def __init__(self, url: str) -> None:
        self.url = url
        populate(url, OPERATIONS)
        with closing(open_catalog(url)) as catalog:
            self.report: Report = gather(catalog, Wanted(now=NOW))
            self.listed: Listed = listed(self.report, catalog, archives=100)
            since = NOW.replace(day=10, hour=0)
            self.part = listed(gather(catalog, Wanted(since=since, now=NOW)), catalog)
            self.since = since
        self._plain: SQLiteCatalog | PostgreSQLCatalog = reader(url)

    def operations(self) -> dict[str, list[tuple[str, str, str]]]:
        """The time, status and id of the operations of each month, the newest first."""
        text = "started_at" if isinstance(self._plain, SQLiteCatalog) else (
            "to_char(timezone('UTC', started_at), 'YYYY-MM-DD HH24:MI:SS.US')"
        )  # fmt: skip
        found = defaultdict(list)
        for at, status, number in self.rows(
            f"SELECT {text}, status, operation_id FROM operations ORDER BY started_at DESC"
        ):
            found[str(at)[:7]].append((str(at), str(status), str(number)))
        return found

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        return list(self._plain.rows(statement))


@pytest.fixture(
    scope="module",
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)],
)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    if request.param == "sqlite":
        yield Filled(f"sqlite:///{tmp_path_factory.mktemp('filled')}/catalog.db")
        return
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    url = server.create_database()
    yield Filled(url)
    server.drop_database(url)


def test_the_newest_archives_are_listed(filled: Filled) -> None:
    rows = filled.rows(
        "SELECT path, store, storage_class, size, original_size FROM files "
        "WHERE store IS NOT NULL AND status <> 'deleted' ORDER BY id DESC LIMIT 100"
    )
    assert [tuple(each[:5]) for each in filled.listed.archives] == rows
    assert len(rows) == 100


def test_of_each_month_those_that_failed_come_first_then_the_newest(filled: Filled) -> None:
    there = filled.operations()
    assert [period.month for period in filled.listed.periods] == [month.month for month in filled.report.months]
    for period, found in zip(filled.listed.periods, filled.listed.operations, strict=True):
        here = there.get(period.month, [])
        bad = [number for _, status, number in here if status in BAD]
        good = [number for _, status, number in here if status not in BAD]
        wanted = (bad + good)[:OPERATIONS_OF_A_MONTH]
        assert [each.operation_id for each in found] == wanted, period.month
        assert {each.status.value for each in found[: len(bad)]} <= set(BAD)
    assert {len(found) for found in filled.listed.operations} == {OPERATIONS_OF_A_MONTH}


def test_a_period_in_a_month_excludes_what_is_before_it(filled: Filled) -> None:
    [found] = filled.part.operations[-1:]
    [month] = filled.part.periods[-1:]
    assert month.since == filled.since
    assert found
    assert all(each.started_at >= filled.since for each in found)


@pytest.mark.parametrize("last", ["2026-12", "9999-12"])
def test_every_month_has_an_end(filled: Filled, last: str) -> None:
    months = tuple(replace(filled.report.months[0], month=each) for each in ("2026-11", last))
    with closing(open_catalog(filled.url)) as catalog:
        periods = listed(replace(filled.report, months=months), catalog).periods
    assert [period.month for period in periods] == ["2026-11", last]
    assert all(period.since < period.until for period in periods)


def test_the_table_of_months_has_the_numbers_of_the_catalog(filled: Filled) -> None:
    page = report_page(filled.report, filled.listed)
    there = filled.operations()
    for month in filled.report.months:
        [row] = re.findall(f'<tr id="month-{month.month}">(.*?)</tr>', page, re.DOTALL)
        cells = re.findall("<td[^>]*>(.*?)</td>", row)
        statuses = [status for _, status, _ in there[month.month]]
        wanted = [statuses.count(each) for each in ("success", "failed", "partial", "cancelled")]
        wanted.append(len(statuses) - sum(wanted))
        volume = [f"{month.archives:,}", human_size(month.size), human_size(month.original_size)]
        assert cells == [*volume, *(f"{each:,}" for each in wanted)]
    data = re.search('<script type="application/json" id="operations">(.*?)</script>', page)
    assert data is not None
    months = json.loads(data[1])["months"]
    assert {name: each["operations"] for name, each in months.items()} == {
        month.month: len(there[month.month]) for month in filled.report.months
    }
