"""mgmt's own files are private; restored files have their original modes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.program import Program

pytestmark = pytest.mark.sqlite

COMMANDS = (
    "upload notes",
    "upload folder --keep --keep-archive kept",
    "-o json ls",
    "search notes",
    "status notes",
    "verify notes --read-back",
    "download notes --to out",
    "download folder --member one --to out",
    "download folder --archive --to archive",
    "free notes --yes",
    "log",
    "recover",
    "config set threads 2",
    "config unset threads",
    "config set level fast",
    "db current",
    "db backup backup.db",
    "db upgrade",
    "db check",
    "db rebuild",
    "delete folder --yes --last-copy",
    "upload missing",
)

IN_A_CHILD = """
import os, shlex, sys
os.umask(int(sys.argv[1], 8))
from mgmt import cli
for line in sys.argv[2:]:
    print(line, cli.run(shlex.split(line)), file=sys.stderr)
    held = os.umask(0o077)
    assert held & 0o077 == 0o077, (line, oct(held))
    os.umask(int(sys.argv[1], 8))
"""
"""One process for all commands: mgmt sets its umask in each run."""


def too_open(folder: Path) -> list[str]:
    """The files and folders in `folder`, and itself, that others can read, write or enter."""
    found = []
    for here, _, names in os.walk(folder):
        for path in (Path(here), *(Path(here, name) for name in names)):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode != (0o700 if path.is_dir() else 0o600):
                found.append(f"{path} {mode:04o}")
    return found


@pytest.mark.parametrize("umask", ["000", "022"])
def test_files_of_mgmt_are_private_and_restored_modes_are_exact(mgmt: Program, umask: str, figure: Figure) -> None:
    notes, folder = mgmt.work / "notes", mgmt.work / "folder"
    notes.write_text("notes")
    folder.mkdir()
    for name, mode in (("one", 0o644), ("two", 0o755), ("three", 0o666), ("four", 0o400)):
        (folder / name).write_text(name)
        (folder / name).chmod(mode)
    folder.chmod(0o777)
    notes.chmod(0o664)
    command = [sys.executable, "-c", IN_A_CHILD, umask, *COMMANDS]
    done = subprocess.run(
        command, env=mgmt.env(), cwd=mgmt.work, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ended = dict(line.rsplit(" ", 1) for line in done.stderr.splitlines() if line.rsplit(" ", 1)[0] in COMMANDS)
    assert set(ended) == set(COMMANDS)
    assert {line for line, status in ended.items() if status != "0"} == {"upload missing"}, done.stderr
    assert too_open(mgmt.home / "catalog") == []
    assert too_open(mgmt.home / "config") == []
    for own in (mgmt.home / "data", mgmt.home / "cache"):
        assert not own.exists() or too_open(own) == []
    backup = mgmt.work / "backup.db"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert stat.S_IMODE((mgmt.work / "out" / "notes").stat().st_mode) == 0o664
    assert stat.S_IMODE((mgmt.work / "out" / "one").stat().st_mode) == 0o644
    for kept in (mgmt.work / "kept" / "folder.tar.gz", mgmt.work / "archive" / "folder.tar.gz"):
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777
    mgmt.ok("upload", "folder", "--keep")
    mgmt.ok("download", "folder", "--to", "whole")
    restored = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (mgmt.work / "whole").rglob("*")}
    assert restored == {"folder": 0o777, "one": 0o644, "two": 0o755, "three": 0o666, "four": 0o400}
    figure("security", "commands whose file modes are checked", tried=len(COMMANDS), violations=0)


def test_files_beside_an_open_catalog_are_private(mgmt: Program) -> None:
    """-wal, -shm and the lock exist only while the catalog is open."""
    from mgmt.catalog import open_catalog

    umask = os.umask(0)
    try:
        catalog = open_catalog(f"sqlite:///{mgmt.catalog}")
        catalog.metadata.list_operations()
        with catalog.database.transaction():
            names = {path.name for path in mgmt.catalog.parent.iterdir()}
            assert {"catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db.lock"} <= names
            assert too_open(mgmt.catalog.parent) == []
        catalog.close()
    finally:
        os.umask(umask)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_what_others_may_see_is_as_the_umask_says(mgmt: Program, umask: int) -> None:
    """completed/ and a directory store; never the catalog and the configuration."""
    (mgmt.work / "notes").write_text("notes")
    os.chmod(mgmt.work / "notes", 0o644)
    script = f'umask {umask:03o} && exec "$@"'
    run = [
        "sh", "-c", script, "sh", *mgmt.command("--store", f"file://{mgmt.home}/shared", "upload", mgmt.work / "notes")
    ]  # fmt: skip
    subprocess.run(run, env=mgmt.env(), cwd=mgmt.work, check=True, capture_output=True)
    folders = (mgmt.work / "completed", mgmt.home / "shared", mgmt.home / "shared" / ".mgmt")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o777 & ~umask}
    assert stat.S_IMODE((mgmt.home / "shared" / "notes.tar.gz").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((mgmt.work / "completed" / "notes").stat().st_mode) == 0o644
    assert too_open(mgmt.catalog.parent) == []
