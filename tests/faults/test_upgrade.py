"""Promise 13: an upgrade is applied completely or not at all, can be run again after a kill, and can be reverted."""

import hashlib
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from mgmt.catalog import HEAD
from tests.conftest import Figure
from tests.program import Program

OLD = Path(__file__).parents[1] / "assets" / "catalogs" / "0001.sql"
RECORDS = ("operations", "uploads", "downloads", "files", "operation_files", "directories", "members")
ADDED = (
    *('"sha256"', '"seal"', '"heard_at"', '"archive_id"', '"kept"'),
    *('"version_id"', '"stored_at"', '"lock_mode"', '"locked_until"', '"legal_hold"'),
    *('"retry_of"', '"cancel_requested_by"', '"done_bytes"', '"total_bytes"', '"bytes_per_second"'),
)
"""The columns that upgrades add."""

MORE = """
CREATE TEMP TABLE counted AS
    WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < {count}) SELECT n FROM up;
INSERT INTO operations (operation_id, operation_type, target_path, target_name, started_at, completed_at, status,
    metadata, user, command_args, seq, host, mgmt_version)
    SELECT printf('%08x', n), CASE n % 2 WHEN 0 THEN 'upload' ELSE 'download' END, '/films/' || n, n,
        '2024-03-05 10:00:00.000000', '2024-03-05 10:00:01.000000', 'success', '{{}}', 'ann', '{{}}', n + 4, 'nas',
        '0.1.0'
    FROM counted;
INSERT INTO uploads (operation_id, compression_type, original_size, s3_object_key, digest, store)
    SELECT printf('%08x', n), 'gzip', n, n || '.tar.gz', 'd' || n, 'file:///store' FROM counted WHERE n % 2 = 0;
INSERT INTO downloads (operation_id, s3_object_key, local_path)
    SELECT printf('%08x', n), n || '.tar.gz', '/back/' || n FROM counted WHERE n % 2 = 1;
INSERT INTO operation_files (operation_id, file_id, role) SELECT printf('%08x', n), 2, 'archive' FROM counted;
DROP TABLE counted;
"""
"""Finished operations of two types, all on an existing archive."""


def old_catalog(path: Path, members: int, operations: int) -> None:
    """A catalog of revision 0001 with that many more members and operations."""
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD.read_text("utf-8"))
        connection.executemany(
            "INSERT INTO members"
            " (archive_id, directory_id, name, type, mode, size, mtime_ns, header_offset, data_offset)"
            " VALUES (2, 2, ?, 'f', 420, ?, ?, ?, ?)",
            ((f"IMG_{n:07}.jpg", n, n * 1_000_003, n * 1024, n * 1024 + 512) for n in range(members)),
        )
        connection.commit()
        connection.executescript(MORE.format(count=operations))
    path.chmod(0o600)


State = tuple[str, str, str]


class States:
    """Results of `state`, cached by the digest of the file: a million rows take ten seconds."""

    def __init__(self) -> None:
        self._known: dict[str, State] = {}

    def of(self, path: Path) -> State:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")  # rolls back what a killed process has left
        assert not Path(f"{path}-wal").exists()
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest not in self._known:
            self._known[digest] = state(path)
        return self._known[digest]


def state(path: Path) -> State:
    """The revision, the result of SQLite's quick_check, and a hash of every row."""
    digest = hashlib.sha256()
    with closing(sqlite3.connect(path)) as connection:
        for table in RECORDS:
            columns = [f'"{name}"' for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
            kept = ", ".join(name for name in columns if name not in ADDED)
            for row in connection.execute(f"SELECT {kept} FROM {table} ORDER BY 1, 2"):
                digest.update(repr(row).encode("utf-8", "surrogateescape"))
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
    return revision, verdict, digest.hexdigest()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("members", "operations", "kills"),
    [
        (2_000, 2_000, 4),
        pytest.param(50_000, 50_000, 100, marks=pytest.mark.torture),
        pytest.param(1_000_000, 1_000_000, 100, marks=pytest.mark.hours),
    ],
    ids=["few", "many", "million"],
)
def test_a_killed_upgrade_can_be_run_again_and_reverted(
    members: int, operations: int, kills: int, on_directory: Program, figure: Figure
) -> None:
    path = on_directory.catalog
    old_catalog(path, members, operations)
    rng, states = random.Random(members), States()
    before = states.of(path)
    assert before[:2] == ("0001", "ok")
    began = time.monotonic()
    on_directory.ok("db", "upgrade")
    seconds = time.monotonic() - began
    assert state(path) == (HEAD, "ok", before[2])
    on_directory.ok("db", "downgrade", "0001")
    killed = 0
    while killed < kills:
        with on_directory.fork("db", "upgrade") as running:
            try:
                running.wait(rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                running.kill()
            running.communicate()
        killed += running.returncode == -signal.SIGKILL
        revision, verdict, rows = states.of(path)
        assert (verdict, rows) == before[1:]
        if revision == HEAD:  # it had finished, or had committed before the kill
            on_directory.ok("db", "downgrade", "0001")
        for backup in path.parent.glob("*.backup*"):
            backup.unlink()
    on_directory.ok("db", "upgrade")
    assert state(path) == (HEAD, "ok", before[2])
    on_directory.ok("db", "check")
    on_directory.ok("audit", "verify")
    assert sorted(each.name for each in path.parent.iterdir() if each.suffix != ".backup") == [
        path.name,
        f"{path.name}.lock",
    ]
    figure(
        13, f"kills of `db upgrade` with {members:,} members and {operations:,} operations", tried=killed, violations=0
    )
