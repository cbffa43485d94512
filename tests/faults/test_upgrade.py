"""Promise 13: an upgrade happens whole or not at all, can be run again after a kill, and can be undone."""

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


def old_catalog(path: Path, members: int) -> None:
    """A catalog of revision 0001 with so many more members."""
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
    path.chmod(0o600)


def state(path: Path) -> tuple[str, str, str]:
    """The revision, SQLite's own verdict, and a hash of every row."""
    digest = hashlib.sha256()
    with closing(sqlite3.connect(path)) as connection:
        for table in RECORDS:
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
                digest.update(repr(row).encode("utf-8", "surrogateescape"))
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
    return revision, verdict, digest.hexdigest()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("members", "kills"), [(2_000, 4), pytest.param(1_000_000, 100, marks=pytest.mark.torture)], ids=["few", "million"]
)
def test_an_upgrade_that_is_killed_can_be_run_again_and_undone(
    members: int, kills: int, on_directory: Program, figure: Figure
) -> None:
    path = on_directory.catalog
    old_catalog(path, members)
    rng = random.Random(members)
    before = state(path)
    assert before[:2] == ("0001", "ok")
    began = time.monotonic()
    assert on_directory.run_process("db", "upgrade").returncode == 0
    seconds = time.monotonic() - began
    assert state(path) == (HEAD, "ok", before[2])
    assert on_directory.run_process("db", "downgrade", "0001").returncode == 0
    killed = 0
    while killed < kills:
        with on_directory.start("db", "upgrade") as running:
            try:
                running.wait(rng.uniform(0.2, seconds))
            except subprocess.TimeoutExpired:
                running.kill()
            running.communicate()
        killed += running.returncode == -signal.SIGKILL
        revision, verdict, rows = state(path)
        assert (verdict, rows) == before[1:]
        if revision == HEAD:  # it was done, or it came to its commit before the kill
            assert on_directory.run_process("db", "downgrade", "0001").returncode == 0
        for backup in path.parent.glob("*.backup*"):
            backup.unlink()
    assert on_directory.run_process("db", "upgrade").returncode == 0
    assert state(path) == (HEAD, "ok", before[2])
    assert on_directory.run_process("db", "check").returncode == 0
    assert sorted(each.name for each in path.parent.iterdir() if each.suffix != ".backup") == [
        path.name,
        f"{path.name}.lock",
    ]
    figure(13, f"kills of `db upgrade` with {members:,} members", tried=killed, violations=0)
