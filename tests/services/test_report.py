"""The figures of the report and of the metrics are those of SQL that is written here by hand."""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from mgmt.catalog import Catalog, open_catalog
from mgmt.catalog.files.exposed import Exposed
from mgmt.errors import ConfigurationError
from mgmt.prices import load
from mgmt.services.cost import cost
from mgmt.services.metrics import metrics
from mgmt.services.report import MOST, Wanted, gather
from mgmt.services.steps.causes import cause_of
from mgmt.services.steps.exposures import FIRST
from mgmt.services.steps.figures import Report
from tests.catalogs import PostgreSQLCatalog, SQLiteCatalog
from tests.populated import NOW, populate, reader, types
from tests.postgresql import PostgreSQL

US = load("us-east-1")
STORED = "f.store IS NOT NULL AND f.status <> 'deleted'"
WANTED = Wanted(by=("tag:year",), now=NOW)
OLD = (NOW - timedelta(days=90)).strftime("%Y-%m-%d %H:%M:%S.%f")
SOON = (NOW + timedelta(days=30)).strftime("%Y-%m-%d %H:%M:%S.%f")
AT = NOW.strftime("%Y-%m-%d %H:%M:%S.%f")

BUDGET = 4_000.0
"""A month: more than even the archives of 100,000 operations cost."""
FEW, ALL = 6_000, 100_000
"""How many operations there are by default, and in `make torture`."""


class Filled:
    """A catalog with many operations, opened, and read in plain SQL."""

    def __init__(self, url: str) -> None:
        self.url, self.catalog = url, open_catalog(url)
        self._plain: SQLiteCatalog | PostgreSQLCatalog = reader(url)
        self.report = gather(self.catalog, WANTED, US, BUDGET)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """The rows of a statement, in which `month(TIME)!` and `tag(TAGS)` stand for what differs."""
        if not self.url.startswith("sqlite"):
            statement = statement.replace("month(", "to_char(timezone('UTC', ").replace(")!", "), 'YYYY-MM')")
            statement = statement.replace("tag(f.tags)", "f.tags->>'year'").replace("instr(", "strpos(")
        else:
            statement = statement.replace("month(", "substr(").replace(")!", ", 1, 7)")
            statement = statement.replace("tag(f.tags)", "json_extract(f.tags, '$.year')")
        return list(self._plain.rows(statement))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("sqlite", FEW), id="sqlite"),
        pytest.param(("postgresql", FEW), id="postgresql", marks=pytest.mark.postgresql),
        pytest.param(("sqlite", ALL), id="sqlite-100000", marks=pytest.mark.torture),
        pytest.param(("postgresql", ALL), id="postgresql-100000", marks=[pytest.mark.torture, pytest.mark.postgresql]),
    ],
)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    kind, number = request.param
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('filled')}/catalog.db"
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        url = server.create_database()
    populate(url, number)
    made = Filled(url)
    with closing(made.catalog):
        yield made
    if kind != "sqlite":
        server.drop_database(url)


@pytest.fixture
def report(filled: Filled) -> Report:
    return filled.report


def test_the_volume_is_that_of_the_stored_archives(filled: Filled, report: Report) -> None:
    query = f"SELECT count(*), sum(f.size), sum(f.original_size) FROM files f WHERE {STORED}"
    total = report.total
    assert filled.rows(query) == [(total.archives, total.size, total.original_size)]


def moment(value: object) -> datetime:
    """A time, as either database has it."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


FOLDER = "CASE WHEN instr(f.path, '/') > 0 THEN substr(f.path, 1, instr(f.path, '/') - 1) END"


@pytest.mark.parametrize(
    ("by", "column"),
    [
        ("class", "f.storage_class"),
        ("store", "f.store"),
        ("folder", FOLDER),
        ("user", 'o."user"'),
        ("host", "o.host"),
        ("tag:year", "tag(f.tags)"),
    ],
)
def test_the_volume_by_each_group(filled: Filled, report: Report, by: str, column: str) -> None:
    join = "files f LEFT JOIN operations o ON o.operation_id = f.operation_id"
    rows = filled.rows(
        f"SELECT {column}, count(*), sum(f.size), coalesce(sum(f.original_size), 0) FROM {join} WHERE {STORED}"
        " GROUP BY 1 ORDER BY 3 DESC"
    )
    listed, others = rows[:MOST], rows[MOST:]
    if others:
        listed.append(("(others)", *(sum(int(str(row[at])) for row in others) for at in (1, 2, 3))))
    assert [(each.group, each.archives, each.size, each.original_size) for each in report.groups[by]] == listed
    assert sum(each.archives for each in report.groups[by]) == report.total.archives


def test_the_months_of_archives_and_operations(filled: Filled, report: Report) -> None:
    archived = filled.rows(
        "SELECT month(coalesce(f.modified_at, f.recorded_at))!, count(*), sum(f.size), sum(f.original_size)"
        f" FROM files f WHERE {STORED} GROUP BY 1"
    )
    assert {(each.month, each.archives, each.size, each.original_size) for each in report.months} == {*archived}
    counts = "SELECT month(started_at)!, operation_type, status, count(*) FROM operations GROUP BY 1, 2, 3"
    started = filled.rows(counts)
    assert {
        (each.month, kind, status, number)
        for each in report.months
        for kind, statuses in each.operations.items()
        for status, number in statuses.items()
    } == {*started}
    months = [f"{year}-{month:02}" for year in (2024, 2025, 2026) for month in range(1, 13)]
    assert [each.month for each in report.months] == months[2:-1]  # a thousand days, and no month left out


def test_the_statuses_of_every_type(filled: Filled, report: Report) -> None:
    rows = filled.rows("SELECT operation_type, status, count(*) FROM operations GROUP BY 1, 2")
    found = {(each.operation_type, status, n) for each in report.activity for status, n in each.statuses.items()}
    assert found == {*rows}
    assert [each.operation_type for each in report.activity] == types()


def test_durations_and_rates(filled: Filled, report: Report) -> None:
    took: dict[object, list[float]] = defaultdict(list)
    for kind, began, ended in filled.rows(
        "SELECT operation_type, started_at, completed_at FROM operations WHERE status = 'success'"
    ):
        took[kind].append((moment(ended) - moment(began)).total_seconds())
    sizes = {"upload": ("uploads", "original_size"), "download": ("downloads", "downloaded_size")}
    sizes["verify"] = ("verifications", "checked_size")
    for each in report.activity:
        ranked = sorted(took[each.operation_type])
        median, p95 = (ranked[math.ceil(len(ranked) * share) - 1] for share in (0.5, 0.95))
        assert each.median_seconds == pytest.approx(median, abs=0.002)
        assert each.p95_seconds == pytest.approx(p95, abs=0.002)
        size: object = 0
        if each.operation_type in sizes:
            table, column = sizes[each.operation_type]
            [[size]] = filled.rows(
                f"SELECT sum({column}) FROM {table} t JOIN operations o ON o.operation_id = t.operation_id"
                " WHERE o.status = 'success'"
            )
            assert each.bytes_per_second == pytest.approx(int(str(size)) / sum(ranked), rel=1e-4)
        else:
            assert each.bytes_per_second is None
        assert each.bytes == size


def test_failures_by_cause(filled: Filled, report: Report) -> None:
    query = "SELECT operation_type, target_path, error_message, status FROM operations WHERE"
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for kind, path, message, _ in filled.rows(f"{query} status = 'failed'"):
        expected[str(kind), cause_of(str(message or "").replace(str(path), "…"))] += 1
    assert len({cause for _, cause in expected}) == 6
    largest = sorted(expected.values(), reverse=True)[: len(report.failures)]
    assert [each.operations for each in report.failures] == largest
    for each in report.failures:
        assert expected[each.operation_type, each.cause] == each.operations
        [[kind, path, message, status]] = filled.rows(f"{query} operation_id = '{each.last_operation}'")
        cause = cause_of(str(message or "").replace(str(path), "…"))
        assert (status, kind, cause) == ("failed", each.operation_type, each.cause)


def test_archives_without_a_second_copy(filled: Filled, report: Report) -> None:
    second = (
        "SELECT 1 FROM files o WHERE o.digest = f.digest AND o.id <> f.id AND o.status = 'completed'"
        " AND (o.kept = f.kept OR f.kept = '' OR f.kept IS NULL)"
        " AND (o.location = 'completed'"
        " OR (o.location = 's3' AND o.proof IS NOT NULL AND o.archive_id <> f.archive_id))"
    )
    where = f"{STORED} AND NOT EXISTS ({second})"
    found = report.single_copy
    assert filled.rows(f"SELECT count(*), sum(f.size) FROM files f WHERE {where}") == [(found.archives, found.size)]
    keys = filled.rows(f"SELECT f.store, f.path FROM files f WHERE {where} ORDER BY f.id LIMIT {FIRST}")
    assert [(each.store, each.key) for each in found.first] == keys


def test_copies_without_an_archive(filled: Filled, report: Report) -> None:
    held = (
        "SELECT 1 FROM files a WHERE a.digest = f.digest AND a.location = 's3' AND a.status = 'completed'"
        " AND (a.kept = f.kept OR f.kept = '' OR f.kept IS NULL OR a.kept IS NULL)"
    )
    where = f"f.location = 'completed' AND f.status = 'completed' AND NOT EXISTS ({held})"
    found = report.unarchived
    assert filled.rows(f"SELECT count(*), sum(f.size) FROM files f WHERE {where}") == [(found.archives, found.size)]
    keys = filled.rows(f"SELECT f.path FROM files f WHERE {where} ORDER BY f.id LIMIT {FIRST}")
    assert [(each.key,) for each in found.first] == keys
    assert found.first[0].safety.startswith("At risk: ")


def test_archives_found_damaged_are_read_by_few_indexed_rows(filled: Filled) -> None:
    """In one query, which begins with the operations that failed, however many archives there are."""
    if not filled.catalog.database.is_sqlite:
        return
    asked: list[tuple[Any, Any]] = []
    with filled.catalog.database.reading() as session:
        engine = session.get_bind()
        event.listen(engine, "before_cursor_execute", note := lambda *each: asked.append((each[2], each[3])))
        Exposed(filled.catalog.database).damaged(0)
        event.remove(engine, "before_cursor_execute", note)
        [(statement, values)] = [each for each in asked if "SELECT" in each[0]]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    steps = [str(row[-1]) for row in plan]
    assert not [each for each in steps if each.startswith(("SCAN files", "SCAN operations", "SCAN operation_files"))]


def test_archives_that_were_not_verified(filled: Filled, report: Report) -> None:
    where = f"{STORED} AND (f.proven_at IS NULL OR f.proven_at < '{OLD}')"
    found = report.unverified
    assert filled.rows(f"SELECT count(*), sum(f.size) FROM files f WHERE {where}") == [(found.archives, found.size)]
    order = "f.proven_at IS NOT NULL, f.proven_at, f.id"
    keys = filled.rows(f"SELECT f.store, f.path FROM files f WHERE {where} ORDER BY {order} LIMIT {FIRST}")
    assert [(each.store, each.key) for each in found.first] == keys
    assert found.first[0].note == "never verified"


def test_what_ends_soon(filled: Filled, report: Report) -> None:
    locks = filled.rows(
        f"SELECT f.store, f.path, f.size, f.locked_until FROM files f WHERE {STORED}"
        f" AND f.locked_until > '{AT}' AND f.locked_until <= '{SOON}'"
    )
    restores = filled.rows(
        "SELECT f.store, f.path, f.size, max(r.expires_at) FROM files f"
        " JOIN restores r ON r.store = f.store AND r.s3_object_key = f.path"
        " AND (f.archive_id IS NULL OR r.archive_id = f.archive_id)"
        f" JOIN operations o ON o.operation_id = r.operation_id AND o.status = 'success' WHERE {STORED}"
        f" AND r.expires_at > '{AT}' GROUP BY f.id, f.store, f.path, f.size HAVING max(r.expires_at) <= '{SOON}'"
    )
    assert locks
    assert restores
    both = sorted([*locks, *restores], key=lambda row: str(row[3]))
    assert report.expiring.archives == len(both)
    assert report.expiring.size == sum(int(str(row[2])) for row in both)
    assert [each.on for each in report.expiring.first] == [moment(each) for *_, each in both[:FIRST]]


def test_growth_and_cost(filled: Filled, report: Report) -> None:
    rows = filled.rows(
        f"SELECT month(coalesce(f.modified_at, f.recorded_at))!, sum(f.size) FROM files f WHERE {STORED} GROUP BY 1"
    )
    sizes = {str(month): int(str(size)) for month, size in rows}
    complete = ["2026-10", "2026-09", "2026-08", "2026-07", "2026-06", "2026-05"]
    growth = report.growth
    assert growth.bytes_per_month == sum(sizes[month] for month in complete) // 6
    assert growth.monthly == pytest.approx(cost("class", None, US, filled.catalog)[-1].monthly)
    assert (growth.currency, growth.budget) == ("USD", BUDGET)
    assert growth.monthly is not None
    rate = growth.monthly * growth.bytes_per_month / report.total.size
    months = (BUDGET - growth.monthly) / rate
    reached = NOW + timedelta(days=months * 365.25 / 12)
    assert growth.budget_reached_on == reached.date()


def test_a_period_limits_what_was_done_and_not_what_is_stored(filled: Filled, report: Report) -> None:
    since, until = datetime(2026, 3, 10, 5, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
    found = gather(filled.catalog, Wanted(since=since, until=until, now=NOW))
    assert (found.total, found.single_copy) == (report.total, report.single_copy)
    within = "started_at >= '2026-03-10 05:00:00.000000' AND started_at < '2026-05-02 00:00:00.000000'"
    rows = filled.rows(f"SELECT operation_type, status, count(*) FROM operations WHERE {within} GROUP BY 1, 2")
    assert {(each.operation_type, s, n) for each in found.activity for s, n in each.statuses.items()} == {*rows}
    [[size]] = filled.rows(
        "SELECT sum(original_size) FROM uploads u JOIN operations o ON o.operation_id = u.operation_id"
        f" WHERE o.status = 'success' AND {within}"
    )
    assert {each.operation_type: each.bytes for each in found.activity}["upload"] == size
    assert [each.month for each in found.months] == ["2026-03", "2026-04", "2026-05"]
    time = "coalesce(f.modified_at, f.recorded_at)"
    during = within.replace("started_at", time)
    archives = filled.rows(f"SELECT month({time})!, count(*) FROM files f WHERE {STORED} AND {during} GROUP BY 1")
    assert {(each.month, each.archives) for each in found.months} == {*archives}
    failed = filled.rows(f"SELECT count(*) FROM operations WHERE status = 'failed' AND {within}")
    assert failed == [(sum(each.operations for each in found.failures),)] or len(found.failures) == 20


def test_an_unknown_group_is_refused(filled: Filled) -> None:
    for by in ("colour", "tag:", "year"):
        with pytest.raises(ConfigurationError, match="cannot count by"):
            gather(filled.catalog, Wanted(by=(by,)))


def test_what_another_program_wrote_hides_nothing_else(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalog.db"
    populate(url, 300)
    change = reader(url).change
    change("UPDATE operations SET started_at = 'long ago', completed_at = '' WHERE seq % 7 = 0")
    change(
        "UPDATE files SET modified_at = 'soon', proven_at = 'x', locked_until = 'never', tags = '{' WHERE id % 5 = 0"
    )
    change("UPDATE operations SET error_message = char(0) || target_path, command_args = '[' WHERE seq % 11 = 0")
    with closing(open_catalog(url)) as opened:
        found = gather(opened, WANTED, US, BUDGET)
        assert "mgmt_operations_total" in metrics(opened)
    assert sum(sum(each.statuses.values()) for each in found.activity) == 300
    assert sum(each.archives for each in found.groups["tag:year"]) == found.total.archives
    assert all(len(each.month) == 7 for each in found.months)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Catalog]:
    with closing(open_catalog(f"sqlite:///{tmp_path}/catalog.db")) as opened:
        yield opened


def test_an_empty_catalog_has_empty_figures(empty: Catalog) -> None:
    found = gather(empty, Wanted(by=("tag:x",)), US, 5.0)
    assert (found.total.archives, found.months, found.activity, found.failures) == (0, (), (), ())
    assert not any(found.groups.values())
    assert (found.single_copy.archives, found.unverified.archives, found.expiring.archives) == (0, 0, 0)
    assert (found.growth.bytes_per_month, found.growth.monthly, found.growth.budget_reached_on) == (None, 0.0, None)
