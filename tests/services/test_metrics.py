"""Metrics: their figures are those of SQL written by hand, and their format is what prometheus-client reads."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text as sql

from mgmt.catalog import open_catalog
from mgmt.catalog.operations.gauges import Gauges
from mgmt.errors import CatalogError, ConflictError, MgmtError
from mgmt.services.metrics import LONGEST, TOOK, is_due, metrics, write
from mgmt.services.steps.exposition import Metric, text_of
from tests.populated import populate, reader
from tests.postgresql import PostgreSQL

Values = dict[frozenset[tuple[str, str]], float]

FEW, ALL = 6_000, 100_000


def parsed(text: str) -> dict[str, Values]:
    """The values by labels of each metric, as Prometheus reads them."""
    found: dict[str, Values] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.timestamp is None
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


class Filled:
    def __init__(self, url: str) -> None:
        self.url, self.catalog = url, open_catalog(url)
        self.rows = reader(url).rows
        self.found = parsed(metrics(self.catalog))


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


def test_operations_by_type_and_status(filled: Filled) -> None:
    rows = filled.rows("SELECT operation_type, status, count(*) FROM operations GROUP BY 1, 2")
    expected = {labelled(type=kind, status=status): number for kind, status, number in rows}
    for kind in {kind for kind, _, _ in rows}:
        for status in ("success", "failed", "partial", "cancelled"):
            expected.setdefault(labelled(type=kind, status=status), 0)
    assert filled.found["mgmt_operations_total"] | filled.found["mgmt_live_operations"] == expected
    statuses = {dict(labels)["status"] for labels in filled.found["mgmt_live_operations"]}
    assert statuses == {"pending", "running"}


def test_the_last_success_of_each_type_and_schedule(filled: Filled) -> None:
    rows = filled.rows("SELECT operation_type, max(completed_at) FROM operations WHERE status = 'success' GROUP BY 1")
    expected = {labelled(type=kind, schedule=""): seconds(at) for kind, at in rows}
    [[kind, at]] = filled.rows(
        "SELECT operation_type, completed_at FROM operations WHERE status = 'success'"
        " AND CAST(command_args AS TEXT) LIKE '%nightly%' ORDER BY seq DESC LIMIT 1"
    )
    expected[labelled(type=kind, schedule="nightly")] = seconds(at)
    assert filled.found["mgmt_last_success_timestamp_seconds"] == pytest.approx(expected, abs=0.001)


def seconds(moment: object) -> float:
    found = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def test_what_is_stored(filled: Filled) -> None:
    rows = filled.rows(
        "SELECT store, storage_class, count(*), sum(size) FROM files"
        " WHERE store IS NOT NULL AND status <> 'deleted' GROUP BY 1, 2"
    )
    assert filled.found["mgmt_stored_archives"] == {labelled(store=a, **{"class": b or ""}): n for a, b, n, _ in rows}
    assert filled.found["mgmt_stored_bytes"] == {labelled(store=a, **{"class": b or ""}): n for a, b, _, n in rows}


def test_archives_that_were_not_verified(filled: Filled) -> None:
    proven = filled.rows("SELECT proven_at FROM files WHERE store IS NOT NULL AND status <> 'deleted'")
    limit = datetime.now(UTC).timestamp() - 90 * 86_400
    old = sum(1 for (at,) in proven if at is None or seconds(at) < limit)
    assert filled.found["mgmt_unverified_archives"] == {frozenset(): old}
    assert old > 0


def test_what_waits(filled: Filled) -> None:
    rows = filled.rows(
        "SELECT j.queue, CASE WHEN o.status = 'running' THEN 'running' WHEN j.held THEN 'held'"
        " WHEN j.taken_by IS NOT NULL THEN 'taken' ELSE 'waiting' END, count(*) FROM jobs j"
        " JOIN operations o ON o.operation_id = j.operation_id WHERE NOT j.fanned_out GROUP BY 1, 2"
    )
    assert len(rows) == 8
    assert filled.found["mgmt_queue_length"] == {labelled(queue=queue, status=status): n for queue, status, n in rows}
    [(failing, given_up)] = filled.rows(
        "SELECT sum(CASE WHEN given_up THEN 0 ELSE 1 END), sum(CASE WHEN given_up THEN 1 ELSE 0 END) FROM outbox"
        " WHERE delivered_at IS NULL AND error IS NOT NULL"
    )
    assert filled.found["mgmt_undelivered_notifications"] == {
        labelled(status="failing"): failing,
        labelled(status="given_up"): given_up,
    }


def test_what_takes_too_long_is_given_up(filled: Filled) -> None:
    with closing(open_catalog(filled.url)) as catalog:
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        statement = endless if catalog.database.is_sqlite else "SELECT pg_sleep(600)"
        for _ in range(2):
            with (
                pytest.raises(CatalogError),
                Gauges(catalog.database).limited(0.05),
                catalog.database.reading() as session,
            ):
                session.execute(sql(statement)).all()
        assert parsed(metrics(catalog))["mgmt_operations_total"] == filled.found["mgmt_operations_total"]


def test_the_first_failure_is_an_increase(tmp_path: Path) -> None:
    with closing(open_catalog(f"sqlite:///{tmp_path}/catalog.db")) as catalog:
        found = parsed(metrics(catalog))
    assert found["mgmt_operations_total"][labelled(type="upload", status="failed")] == 0
    assert found["mgmt_damaged_archives"] == {frozenset(): 0}


def test_a_schedule_that_has_not_succeeded_is_silent_since_it_was_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalog.db"
    populate(url, 400)
    insert = "INSERT INTO schedules (name, cron, timezone, command, host, cwd, paused, created_at) SELECT"
    rest = "cron, timezone, command, host, cwd, {}, '2026-01-02 03:04:05.000000' FROM schedules WHERE name = 'nightly'"
    for name, paused in (("new", 0), ("resting", 1)):
        reader(url).change(f"{insert} '{name}', {rest.format(paused)}")
    with closing(open_catalog(url)) as catalog:
        found = parsed(metrics(catalog))
    since = found["mgmt_schedule_expected_since_timestamp_seconds"]
    last = {dict(labels)["schedule"]: at for labels, at in found["mgmt_last_success_timestamp_seconds"].items()}
    made = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert since == {labelled(schedule="new"): made, labelled(schedule="nightly"): last["nightly"]}


@given(st.dictionaries(st.sampled_from(["store", "class", "type"]), st.text(), min_size=1), st.integers(0, 1 << 62))
def test_any_label_is_read_as_it_was_written(labels: dict[str, str], value: int) -> None:
    metric = Metric("mgmt_stored_bytes", "gauge", "Bytes.\nOr \\ not.")
    metric.add(value, **labels)
    [family] = text_string_to_metric_families(text_of([metric]))
    assert (family.type, family.documentation) == ("gauge", "Bytes.\nOr \\ not.")
    [sample] = family.samples
    assert sample.labels == {name: text.encode("utf-8", "backslashreplace").decode() for name, text in labels.items()}
    assert float(sample.value) == float(value)


def test_a_name_that_is_not_utf_8_is_shown(tmp_path: Path) -> None:
    metric = Metric("mgmt_stored_bytes", "gauge", "Bytes.")
    metric.add(1, store=os.fsdecode(b"file:///caf\xe9"))
    write(str(tmp_path / "mgmt.prom"), text_of([metric]))
    assert parsed((tmp_path / "mgmt.prom").read_text("utf-8")) == {
        "mgmt_stored_bytes": {labelled(store="file:///caf\\xe9"): 1.0}
    }


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_file_is_replaced_as_a_whole_and_readable_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "mgmt.prom"
    file.write_text("# HELP mgmt_old Old.\n")
    with file.open() as reading:
        write(str(file), "new\n")
        assert reading.read() == "# HELP mgmt_old Old.\n"
    assert file.read_text() == "new\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["mgmt.prom"]


@pytest.mark.parametrize("path", ["missing/mgmt.prom", "/dev/null/mgmt.prom"])
def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, path: str) -> None:
    with pytest.raises(MgmtError, match="cannot be written"):
        write(str(tmp_path / path), "text")
    assert os.listdir(tmp_path) == []


def test_only_a_metrics_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("notes", "target"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    before = sorted(os.listdir(tmp_path))
    for path in ("/dev/null", "folder", "pipe", "notes", "link", "dangling"):
        with pytest.raises(ConflictError, match="is not a metrics file of mgmt"):
            write(str(tmp_path / path), "text")
        assert is_due(str(tmp_path / path))
    assert sorted(os.listdir(tmp_path)) == before
    assert [(tmp_path / name).read_text() for name in ("notes", "target")] == ["mine", "mine"]


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mgmt.prom").touch()
    write(str(tmp_path / "mgmt.prom"), "text")
    assert (tmp_path / "mgmt.prom").read_text() == "text"


def test_the_file_of_a_large_catalog_is_made_anew_less_often(tmp_path: Path) -> None:
    file = tmp_path / "mgmt.prom"
    assert is_due(str(file))
    file.write_text(f"# HELP {TOOK} Seconds.\n{TOOK} 0.01\n")
    now = datetime.now(UTC).timestamp()
    os.utime(file, (now - 1, now - 1))
    assert is_due(str(file))
    file.write_text(f"{TOOK} 2.5\n")
    assert not is_due(str(file))
    os.utime(file, (now - 51, now - 51))
    assert is_due(str(file))
    file.write_text(f"{TOOK} 1e300\n")
    os.utime(file, (now - LONGEST, now - LONGEST))
    assert is_due(str(file))
    os.utime(file, (now + 3600, now + 3600))  # the clock was set back
    assert is_due(str(file))
    for text in ("", "mgmt_metrics_seconds ...\n", "\x00"):
        file.write_text(text)
        assert is_due(str(file))


def test_an_empty_catalog_has_metrics(tmp_path: Path) -> None:
    with closing(open_catalog(f"sqlite:///{tmp_path}/catalog.db")) as empty:
        found = parsed(metrics(empty))
    assert found["mgmt_unverified_archives"] == {frozenset(): 0}
    assert "mgmt_stored_bytes" not in found
