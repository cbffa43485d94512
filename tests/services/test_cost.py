"""Costs from the catalog alone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from mgmt import prices
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, open_catalog
from mgmt.choices import StorageClass
from mgmt.cli.cost import COLUMNS
from mgmt.errors import ConfigurationError
from mgmt.prices import GB, Objects, load
from mgmt.services.cost import cost
from mgmt.services.steps.growth import monthly_cost
from tests.catalogs import Catalogs

US = load("us-east-1")


@pytest.fixture
def catalog(tmp_path: Path, catalogs: Catalogs) -> Iterator[Catalog]:
    with closing(open_catalog(catalogs.at(tmp_path).url)) as opened:
        yield opened


NOW = datetime.now(UTC)


def archive(key: str, size: int, storage_class: str | None = None, age: int = 1000, **more: object) -> FileRecord:
    return FileRecord(
        path=key,
        location=Location.S3,
        store=str(more.get("store", "s3://bucket/archive")),
        s3_object_key=key,
        size=size,
        storage_class=storage_class,
        status=FileStatus(str(more.get("status", "completed"))),
        stored_at=NOW - timedelta(days=age),
        tags=dict(more.get("tags", {})),  # type: ignore[call-overload]
        member_count=10,
    )


def store(catalog: Catalog, *archives: FileRecord) -> None:
    for each in archives:
        catalog.metadata.save_file_record(each)


def test_a_directory_has_no_price(catalog: Catalog) -> None:
    store(catalog, archive("a", 100 * GB, "STANDARD"), archive("b", 100 * GB, store="file:///srv/archive"))
    first, second, indexes, whole = cost("class", StorageClass.DEEP_ARCHIVE, US, catalog)
    assert (second.storage_class, second.is_billed, second.monthly, second.saved_monthly) == (None, False, 0.0, 0.0)
    assert first.is_billed
    assert (indexes.archives, whole.archives) == (1, 2)
    assert first.monthly is not None
    assert indexes.monthly is not None
    assert whole.monthly == pytest.approx(first.monthly + indexes.monthly)
    assert [each.is_billed for each in cost("store", None, US, catalog)] == [False, True, True, True]
    shares = catalog.usage.by("class", least=0)
    assert monthly_cost(shares, US) == monthly_cost([each for each in shares if each.is_billed], US)
    shown = COLUMNS[-1].value
    assert callable(shown)
    assert [shown(second), shown(first) != "no price"] == ["no price", True]


def test_each_class_costs_what_its_price_says(catalog: Catalog) -> None:
    store(
        catalog,
        archive("a", 100 * GB, "DEEP_ARCHIVE"),
        archive("b", 1 << 10, "STANDARD_IA"),
        archive("c", 10 * GB),
        archive("gone", 1000 * GB, "STANDARD", status="deleted"),
    )
    *lines, indexes, whole = cost("class", None, US, catalog)
    assert [(each.storage_class, each.archives, each.size) for each in lines] == [
        ("DEEP_ARCHIVE", 1, 100 * GB),
        ("STANDARD_IA", 1, 1 << 10),
        (None, 1, 10 * GB),
    ]
    expected = [
        prices.storage_month(US, Objects(storage_class=name, size=size)).known_monthly
        for name, size in (("DEEP_ARCHIVE", 100 * GB), ("STANDARD_IA", 1 << 10), ("STANDARD", 10 * GB))
    ]
    assert [each.monthly for each in lines] == [pytest.approx(float(each), abs=1e-6) for each in expected]
    assert (indexes.group, indexes.archives) == ("(indexes)", 3)
    assert whole.monthly == pytest.approx(sum(each.monthly or 0 for each in (*lines, indexes)))
    assert (whole.archives, whole.currency) == (3, "USD")


def test_the_volume_lowers_the_price_of_each_group(catalog: Catalog) -> None:
    store(catalog, archive("a/x", 40 * 1024 * GB), archive("b/x", 40 * 1024 * GB))
    first, second, _, _ = cost("folder", None, US, catalog)
    month = prices.storage_month(US, Objects(storage_class="STANDARD", size=80 * 1024 * GB)).known_monthly
    assert first.monthly == second.monthly == pytest.approx(float(month) / 2)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("store", ["s3://bucket/archive", "s3://other"]),
        ("folder", ["2023", "2024", None]),
        ("tag:who", ["ann", None]),
        ("year", [str(NOW.year), str((NOW - timedelta(days=1000)).year)]),
    ],
)
def test_archives_are_counted_by(by: str, groups: list[str | None], catalog: Catalog) -> None:
    store(
        catalog,
        archive("2023/a", GB, tags={"who": "ann"}),
        archive("2024/a", GB, store="s3://other"),
        archive("2024/b/c", GB),
        archive("top", GB, age=0),
    )
    found = cost(by, None, US, catalog)[:-2]
    assert sorted((each.group for each in found), key=str) == sorted(groups, key=str)
    assert sum(each.archives for each in found) == 4


@pytest.mark.parametrize("by", ["class", "store", "folder", "year", "tag:who"])
def test_no_row_is_looked_up_by_an_index(by: str, tmp_path: Path) -> None:
    """A million rows in the order of an index take three seconds, read one after the other one and a half."""
    with closing(open_catalog(f"sqlite:///{tmp_path}/catalog.db")) as catalog:
        store(catalog, archive("a/b", GB))
        asked = list[tuple[str, object]]()

        def note(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
            asked.append((statement, values))

        event.listen(Engine, "before_cursor_execute", note)
        try:
            cost(by, StorageClass.DEEP_ARCHIVE, US, catalog)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        sums = [each for each in asked if "sum(" in each[0] and "operation_files" not in each[0]]
        assert len(sums) == 2
        with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
            for statement, values in sums:
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]  # type: ignore[arg-type]
                assert plan[0] in ("SCAN files", "SCAN files USING COVERING INDEX ix_files_storage_class"), plan


def test_another_class_pays_after_some_months(catalog: Catalog) -> None:
    store(catalog, archive("a", 1000 * GB, "STANDARD_IA"), archive("b", GB, "DEEP_ARCHIVE"))
    lines = {each.storage_class: each for each in cost("class", StorageClass.DEEP_ARCHIVE, US, catalog)[:-2]}
    moved, stays = lines["STANDARD_IA"], lines["DEEP_ARCHIVE"]
    then = prices.storage_month(US, Objects(storage_class="DEEP_ARCHIVE", size=1000 * GB)).known_monthly
    assert moved.monthly_then == pytest.approx(float(then), abs=1e-6)
    assert moved.saved_monthly == pytest.approx(12.5 - float(then), abs=1e-5)
    assert moved.move == pytest.approx(1000 * 0.01 + 0.00005)
    assert moved.pays_after_months == pytest.approx(round(10.00005 / (12.5 - float(then)), 1))
    assert (stays.monthly_then, stays.saved_monthly, stays.move) == (stays.monthly, 0, 0)


def test_a_move_pays_for_the_rest_of_the_minimum_duration(catalog: Catalog) -> None:
    store(catalog, archive("young", 100 * GB, "STANDARD_IA", age=10), archive("old", 100 * GB, "STANDARD_IA", age=40))
    [line] = cost("class", StorageClass.DEEP_ARCHIVE, US, catalog)[:-2]
    assert line.move == pytest.approx(200 * 0.01 + 2 * 0.00005 + 100 * 0.0125 * 20 / 30, rel=0.06)


def test_what_has_no_price_is_unknown_and_so_is_the_sum(catalog: Catalog) -> None:
    store(catalog, archive("a", GB, "DEEP_ARCHIVE"), archive("b", GB, "GLACIER"))
    found = cost("class", None, load("eu-central-1"), catalog)
    assert [each.monthly for each in found[:2]] == [None, None]
    assert found[-1].monthly is None


def test_an_empty_catalog_costs_nothing(catalog: Catalog) -> None:
    assert [each.monthly for each in cost("class", None, US, catalog)] == [0, 0]


def test_an_unknown_group_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError):
        cost("colour", None, US, catalog)
