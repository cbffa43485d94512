"""Catalogs in which an older mgmt has merged two archives into one record: a deleted one and its successor.

tests/assets/mixed was made by the last version of schema 0006, in /films: `a` was uploaded and deleted, and another `a`
uploaded, which took its key; `b` was uploaded once.
"""

import gzip
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mgmt.catalog import this_host
from tests.program import Program

MIXED = Path(__file__).parents[1] / "assets" / "mixed"
FORMER, LATTER, ALONE = "0a586f756c93", "89b95e507dbb", "20dff81f8791"


@pytest.fixture
def old(tmp_path: Path) -> Program:
    """The old catalog, with its store and its completed copies."""
    program = Program(tmp_path / "home", f"file://{tmp_path}/store")
    shutil.copytree(MIXED / "store", tmp_path / "store")
    shutil.copytree(MIXED / "completed", program.work / "completed")
    program.catalog.parent.mkdir(mode=0o700)
    program.catalog.write_bytes(gzip.decompress((MIXED / "catalog.db.gz").read_bytes()))
    program.catalog.chmod(0o600)
    return program


@pytest.fixture
def mixed(old: Program) -> Program:
    """The same, with this host's name and the current path of its store."""
    program = old
    with closing(sqlite3.connect(program.catalog)) as connection:
        connection.execute("UPDATE files SET store = ? WHERE store IS NOT NULL", [program.store])
        moved = "UPDATE files SET host = ?, path = replace(path, '/films/work', ?) WHERE host IS NOT NULL"
        connection.execute(moved, [this_host(), str(program.work)])
        times = connection.execute(
            "SELECT d.path, m.name, m.mtime_ns FROM members m JOIN directories d ON d.id = m.directory_id"
        ).fetchall()
        connection.commit()
    for folder, name, mtime_ns in times:
        path = program.work / "completed" / folder / name
        if path.exists():  # git keeps no times
            os.utime(path, ns=(mtime_ns, mtime_ns))
    return program


@pytest.mark.sqlite
def test_an_upgrade_restores_the_record_of_the_deleted_archive(mixed: Program) -> None:
    mixed.ok("db", "upgrade")
    mixed.ok("db", "check")
    rows = mixed.records.rows(
        "SELECT path, status, substr(digest, 1, 12), kept, archive_id IS NULL FROM files WHERE store IS NOT NULL"
    )
    assert sorted(rows) == [
        ("a.tar.gz", "completed", LATTER, "", 1),  # which archive its members belong to is not known yet
        ("a.tar.gz", "deleted", FORMER, "", 0),
        ("b.tar.gz", "completed", ALONE, "", 0),
    ]


@pytest.mark.sqlite
def test_an_upgrade_changes_no_sealed_operation(old: Program) -> None:
    old.ok("db", "upgrade")
    old.ok("audit", "verify")


@pytest.mark.sqlite
@pytest.mark.parametrize("repair", [["verify", "--all"], ["verify", "a"], ["db", "rebuild"]], ids=" ".join)
def test_verify_and_rebuild_repair_the_members(mixed: Program, repair: list[str]) -> None:
    assert mixed.run("verify", "--all").returncode == 12, "the catalog must be upgraded first"
    mixed.ok("db", "upgrade")
    mixed.ok(*repair)
    mixed.ok("verify", "--all")
    listed = mixed.json("ls", "--members", "a.tar.gz")
    assert [each["path"] for each in listed] == ["a", "a/y"]
    assert mixed.records.rows("SELECT count(*) FROM files WHERE store IS NOT NULL AND archive_id IS NULL") == [(0,)]


@pytest.mark.sqlite
def test_free_refuses_a_copy_whose_archive_was_deleted(mixed: Program) -> None:
    mixed.ok("db", "upgrade")
    former = mixed.work / "completed" / "a"
    (latter,) = (mixed.work / "completed").glob("a-*")
    assert mixed.run("free", former, "--yes").returncode == 7
    assert (former / "x").read_text() == "one\n"
    mixed.ok("download", "a", "--to", "back")
    assert (mixed.work / "back" / "a" / "y").read_text() == "two\n"
    assert mixed.run("free", latter, "--yes").returncode in (0, 7)  # git keeps neither times nor all modes


@pytest.mark.sqlite
def test_an_upgrade_can_be_reverted_while_nothing_depends_on_it(mixed: Program) -> None:
    before = mixed.records.rows("SELECT id, name, path, status, digest FROM files ORDER BY id")
    mixed.ok("db", "upgrade")
    mixed.ok("db", "downgrade", "0006")
    assert mixed.records.rows("SELECT id, name, path, status, digest FROM files ORDER BY id") == before


@pytest.mark.sqlite
def test_a_downgrade_refuses_reused_keys(on_directory: Program) -> None:
    for content in ("one", "two"):
        (on_directory.work / "a").write_text(content)
        on_directory.ok("upload", "a", "--keep")
        if content == "one":
            on_directory.ok("delete", "a.tar.gz", "--yes")
    done = on_directory.run("db", "downgrade", "0006")
    assert done.returncode == 12
    assert "used again" in done.stderr
    on_directory.ok("verify", "--all")
