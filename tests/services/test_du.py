"""How much is stored, by group: the figures of SQL that is written by hand."""

import random
from collections.abc import Iterator

import pytest

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, open_catalog
from mgmt.errors import ConfigurationError
from mgmt.services.du import DiskUsage, disk_usage
from tests.program import Program

SUMS = "count(*), sum(coalesce(original_size, 0)), sum(size), sum(CASE WHEN original_size IS NULL THEN 0 ELSE size END)"
TAG = """CASE WHEN CAST(tags AS text) LIKE '%other%' THEN '' WHEN CAST(tags AS text) LIKE '%film%' THEN 'film' END"""
WHERE = "FROM files WHERE location = 's3' AND status != 'deleted'"


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    catalog, chance = open_catalog(on_directory.records.url), random.Random(4711)
    with catalog.transaction():
        for number in range(300):
            key = f"{chance.choice(['', 'a/', 'a/b/', 'z/'])}{number}.tar.gz"
            catalog.metadata.save_file_record(
                FileRecord(
                    path=key, s3_object_key=key, location=Location.S3, store=chance.choice(["s3://x", "file:///y"]),
                    storage_class=chance.choice([None, "STANDARD", "GLACIER"]), size=chance.randrange(1 << 43),
                    original_size=chance.choice([None, chance.randrange(1 << 44)]),
                    tags=chance.choice([{}, {"project": "film"}, {"project": "", "other": "film"}]),
                    status=chance.choice([FileStatus.COMPLETED, FileStatus.COMPLETED, FileStatus.DELETED]),
                )
            )  # fmt: skip
        catalog.metadata.save_file_record(FileRecord(path="/here", size=5, location=Location.LOCAL, host="h"))
    catalog.close()
    return on_directory


@pytest.fixture
def catalog(mgmt: Program) -> Iterator[Catalog]:
    opened = open_catalog(mgmt.records.url)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("folder", "CASE WHEN path LIKE 'a/%' THEN 'a' WHEN path LIKE 'z/%' THEN 'z' END"),
        ("class", "storage_class"),
        ("store", "store"),
        ("tag:project", TAG),
    ],
)
def test_the_figures_are_those_of_sql(mgmt: Program, catalog: Catalog, by: str, value: str) -> None:
    rows = mgmt.records.rows(f"SELECT {value}, {SUMS} {WHERE} GROUP BY 1")
    rows += [("(all)", *each) for each in mgmt.records.rows(f"SELECT {SUMS} {WHERE}")]
    expected = [
        DiskUsage(
            group=group, archives=count, original_size=int(original), size=int(size),
            compression_ratio=int(original) / int(compared),
        )
        for group, count, original, size, compared in rows
    ]  # fmt: skip
    *groups, whole = disk_usage(by, catalog)
    assert sorted(groups, key=str) == sorted(expected[:-1], key=str)
    assert whole == expected[-1]
    assert [each.size for each in groups] == sorted((each.size for each in groups), reverse=True)
    assert mgmt.json("du", "--by", by)[-1]["size"] == whole.size
    shown = mgmt.ok("du", "--by", by).splitlines()
    assert len(shown) == len(groups) + 2
    assert shown[-1].startswith("(all)")


def test_nothing_is_stored_and_other_groups_are_refused(on_directory: Program) -> None:
    assert on_directory.json("du") == [
        {"type": "usage", "group": "(all)", "archives": 0, "original_size": 0, "size": 0, "compression_ratio": None}
    ]
    catalog = open_catalog(on_directory.records.url)
    for by in ("year", "tag:", ""):
        with pytest.raises(ConfigurationError):
            disk_usage(by, catalog)
    catalog.close()
