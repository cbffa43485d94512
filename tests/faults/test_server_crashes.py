"""Promises 1 to 3 and 13 when the PostgreSQL server of the catalog crashes, and comes back, at any moment."""

import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt.catalog import HEAD
from tests.catalogs import Catalog, PostgreSQLCatalogs, catalogs_on
from tests.conftest import Figure
from tests.faults.history import look, violations
from tests.faults.test_random_kills import NAMES, make_originals
from tests.postgresql import OwnPostgreSQL, own_postgresql
from tests.program import Program

pytestmark = pytest.mark.postgresql

DONE, PARTIAL, CATALOG = 0, 3, 12


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgreSQL]:
    with own_postgresql() as server:
        yield server


@pytest.fixture
def server_catalogs(server: OwnPostgreSQL) -> Iterator[PostgreSQLCatalogs]:
    with catalogs_on(server) as catalogs:
        yield catalogs


def crash(server: OwnPostgreSQL) -> None:
    """End all processes at once; the next start replays the write-ahead log."""
    server.stop(signal.SIGQUIT)
    server.start()


def run_during(program: Program, command: tuple[str, ...], moment: float, then: Callable[[], object]) -> int | None:
    """The exit status of a run during which `then` is called, after `moment` seconds; None if it ended before."""
    with program.fork(*command) as running:
        try:
            running.wait(moment)
        except subprocess.TimeoutExpired:
            then()
            _, errors = running.communicate()
            assert "Traceback" not in errors
            return running.returncode
        running.communicate()
    return None


def seconds_of(program: Program, *command: str) -> float:
    began = time.monotonic()
    with program.fork(*command) as running:
        assert running.wait() == DONE
    return time.monotonic() - began


@pytest.mark.parametrize("crashes", [3, pytest.param(100, marks=pytest.mark.torture)])
def test_server_crashes_during_uploads_break_no_promise(
    crashes: int,
    tmp_path: Path,
    server: OwnPostgreSQL,
    server_catalogs: PostgreSQLCatalogs,
    monkeypatch: pytest.MonkeyPatch,
    figure: Figure,
) -> None:
    chance = random.Random(crashes)

    def begin(number: int) -> Program:
        home = tmp_path / str(number)
        for folder in ("tmp", "store"):
            (home / folder).mkdir(parents=True)
        monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
        program = Program(home, f"file://{home}/store", {"TMPDIR": str(home / "tmp")}, server_catalogs)
        make_originals(program, chance)
        return program

    seconds = seconds_of(begin(0), "upload", *NAMES)
    crashed = number = 0
    ends = []
    while crashed < crashes:
        number += 1
        program = begin(number)
        before = look(program)
        moment = chance.uniform(0, seconds)
        ended = run_during(program, ("upload", *NAMES), moment, lambda: crash(server))
        assert violations(before, look(program), recovered=False) == []
        if ended is not None:
            crashed += 1
            ends.append(ended)
            assert ended in (DONE, PARTIAL, CATALOG)
        program.ok("recover")
        assert violations(before, look(program), recovered=True) == []
        if left := [name for name in NAMES if (program.work / name).exists()]:
            assert ended != DONE
            program.ok("upload", *left)
        now = look(program)
        assert violations(before, now, recovered=True) == []
        assert {path.name for path in now.places} == set(NAMES)
        assert len(now.objects) == 2 * len(NAMES)
        server_catalogs.forget(program.home)
    note = f"{ends.count(DONE)} succeeded nevertheless"
    figure("2", "crashes of PostgreSQL during uploads", tried=crashed, violations=0, note=note)


COMPARED = {
    "operations": "operation_id, operation_type, target_path, status, started_at, seq",
    "uploads": "operation_id, s3_object_key, digest, original_size",
    "files": "id, path, store, size, status, operation_id",
    "directories": "id, path",
    "members": "id, archive_id, directory_id, name, size, mtime_ns",
}


def revision_of(records: Catalog) -> str:
    [(revision,)] = records.rows("SELECT version_num FROM alembic_version")
    return str(revision)


def state(records: Catalog) -> tuple[str, list[object]]:
    """The revision, and of each table the number of rows and a hash of the columns of revision 0001."""
    hashes: list[object] = []
    for table, columns in COMPARED.items():  # a sum needs no order: a million rows are hashed two hundred times
        hashes += records.rows(f"SELECT count(*), sum(hashtextextended(ROW({columns})::text, 0)) FROM {table}")
    return revision_of(records), hashes


def fill(records: Catalog, rows: int) -> None:
    """`rows` uploads; every hundredth has an archive with a hundred members."""
    records.change(f"""
        INSERT INTO operations (operation_id, operation_type, target_path, target_name, started_at, completed_at,
            status, metadata, command_args, host)
        SELECT 'operation ' || n, 'upload', '/films/' || n, n::text, now(), now(), 'success', '{{}}', '{{}}', 'nas'
        FROM generate_series(1, {rows}) AS n;
        INSERT INTO uploads (operation_id, compression_type, original_size, s3_object_key, digest, store)
        SELECT 'operation ' || n, 'gzip', n, n || '.tar.gz', md5(n::text), 'file:///store'
        FROM generate_series(1, {rows}) AS n;
        INSERT INTO files (name, path, location, store, size, is_directory, tags, status, operation_id, recorded_at)
        SELECT n || '.tar.gz', n || '.tar.gz', 's3', 'file:///store', n, false, '{{}}', 'completed', 'operation ' || n,
            now()
        FROM generate_series(1, {rows // 100}) AS n;
        INSERT INTO directories (path) VALUES ('films');
        INSERT INTO members (archive_id, directory_id, name, type, mode, size, mtime_ns, header_offset, data_offset)
        SELECT files.id, directories.id, 'IMG_' || files.id || '_' || n || '.jpg', 'f', 420, n, files.id, n, n + 512
        FROM files CROSS JOIN directories CROSS JOIN generate_series(1, 100) AS n
        ORDER BY files.id, n
    """)


KILLS_PER_UPGRADE = 10
"""After this number of kills, an upgrade may finish."""


@pytest.mark.parametrize("who", ["server", "mgmt"])
@pytest.mark.parametrize(
    ("rows", "times", "seed"),
    [
        (2_000, 3, 1),
        pytest.param(20_000, 100, 1, marks=pytest.mark.torture),
        pytest.param(1_000_000, 50, 1, marks=pytest.mark.hours),  # in two halves, for two processors
        pytest.param(1_000_000, 50, 2, marks=pytest.mark.hours),
    ],
    ids=["few", "many", "million", "another-million"],
)
def test_an_upgrade_interrupted_by_a_crash_is_applied_completely_or_not_at_all(
    rows: int,
    times: int,
    seed: int,
    who: str,
    tmp_path: Path,
    server: OwnPostgreSQL,
    server_catalogs: PostgreSQLCatalogs,
    figure: Figure,
) -> None:
    """Whether the server or mgmt is killed, the upgrade can be run again."""
    program = Program(tmp_path / "home", f"file://{tmp_path}/store", catalogs=server_catalogs)
    records = program.records
    program.ok("db", "downgrade", "0001")
    fill(records, rows)
    before = state(records)
    assert before[0] == "0001"
    server_catalogs.copy(program.home, tmp_path / "old")
    seconds = seconds_of(program, "db", "upgrade")
    assert state(records) == (HEAD, before[1])
    chance = random.Random(seed)
    killed = 0
    while killed < times:
        if revision_of(records) == HEAD:
            server_catalogs.copy(tmp_path / "old", program.home)
        with program.fork("db", "upgrade") as running:
            try:
                running.wait(chance.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                if who == "server":
                    crash(server)
                else:
                    running.kill()
                killed += 1
            _, errors = running.communicate()
        assert running.returncode in (DONE, CATALOG, -signal.SIGKILL)
        assert "Traceback" not in errors
        records.wait()
        now = state(records)
        assert now in (before, (HEAD, before[1]))
        assert running.returncode != DONE or now[0] == HEAD
        # In other rounds, the next one runs the upgrade again, and interrupts it.
        if killed % KILLS_PER_UPGRADE == 0 or killed == times:
            program.ok("db", "upgrade")
            assert state(records) == (HEAD, before[1])
            assert program.json("db", "check")["sound"]
    kind = "crashes of PostgreSQL" if who == "server" else "kills"
    figure("13", f"{kind} during `db upgrade` of {rows:,} operations on PostgreSQL", tried=killed, violations=0)
