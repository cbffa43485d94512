"""The checker reports each violation with its promise, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.bad_archiver import BadArchiver
from tests.faults.crash_points import killed_at, points, require_strace
from tests.faults.history import look, violations
from tests.program import Program

A_FEW = 12
FIRST = "seq = (SELECT min(seq) FROM operations)"


def execute(program: Program, statement: str) -> None:
    program.records.change(statement)


def in_store(program: Program, name: str) -> Path:
    return Path(program.store.removeprefix("file://"), name)


def unproven(program: Program) -> None:
    execute(program, "UPDATE files SET proof = NULL")
    (program.work / "completed" / "old").unlink()


def unrecorded(program: Program) -> None:
    execute(program, "DELETE FROM operation_files WHERE role = 'completed'")
    execute(program, "DELETE FROM files WHERE location = 'completed'")


def still_running(program: Program) -> None:
    execute(program, f"UPDATE operations SET status = 'running', completed_at = NULL WHERE {FIRST}")


def two_operations(program: Program) -> None:
    execute(program, "DROP INDEX uq_operations_claim")
    execute(program, "UPDATE operations SET status = 'running', completed_at = NULL, claim = 'x'")


def half_back(program: Program) -> None:
    (program.work / "back").mkdir()
    (program.work / "back" / "old").write_text("ol")


WRONG: list[tuple[str, str, Callable[[Program], object]]] = [
    ("1, 2", "an original is gone", lambda program: (program.work / "new").unlink()),
    ("1, 2", "a copy is gone, and its object was never proven", unproven),
    ("2: litter in the store", "an unknown object", lambda program: in_store(program, "x.tar.gz").write_text("x")),
    (
        "2: litter",
        "an unfinished upload",
        lambda program: in_store(program, ".mgmt/uploads/" + "0" * 32).write_text("x"),
    ),
    ("2: litter", "a stray metadata file", lambda program: in_store(program, ".mgmt/objects/x.json").write_text("x")),
    ("2: litter", "a partial file", lambda program: (program.work / ".mgmt-x.partial").write_text("x")),
    ("2: litter", "a temporary file", lambda program: (program.home / "tmp" / "mgmt-scratch-x").mkdir()),
    (
        "3",
        "an end and a running status",
        lambda program: execute(program, f"UPDATE operations SET status = 'running' WHERE {FIRST}"),
    ),
    ("3", "still running", still_running),
    ("3", "a recorded copy is missing", lambda program: (program.work / "completed" / "old").unlink()),
    ("3", "a move is not recorded", unrecorded),
    ("3", "recorded as deleted, but there", lambda program: execute(program, "UPDATE files SET status = 'deleted'")),
    ("4", "two operations on one target", two_operations),
    ("6", "an original is overwritten", lambda program: (program.work / "new").write_text("other")),
    ("6", "an object is overwritten", lambda program: in_store(program, "old.tar.gz").write_text("other")),
    ("7", "an object is gone", lambda program: in_store(program, "old.tar.gz").unlink()),
    ("8", "half a file is restored", half_back),
]


@pytest.fixture
def kept(on_directory: Program) -> Program:
    """One file archived by two operations, and one original."""
    (on_directory.home / "tmp").mkdir()
    for name in ("old", "new"):
        (on_directory.work / name).write_text(f"{name} contents")
    on_directory.ok("upload", "--keep", "old")
    on_directory.ok("upload", "old")
    return on_directory


def test_the_checker_accepts_sound_histories(kept: Program) -> None:
    before = look(kept)
    assert violations(before, look(kept), recovered=True) == []
    kept.ok("upload", "new")
    kept.ok("download", "new", "--to", "back")
    kept.ok("delete", "old", "--yes")
    kept.ok("free", "new", "--yes")
    assert violations(before, look(kept), recovered=True) == []
    assert violations(look(kept), look(kept), recovered=True) == []


@pytest.mark.parametrize(("promise", "violate"), [(p, d) for p, _, d in WRONG], ids=[what for _, what, _ in WRONG])
def test_the_checker_reports_each_violation(promise: str, violate: Callable[[Program], object], kept: Program) -> None:
    before = look(kept)
    violate(kept)
    found = violations(before, look(kept), recovered=True)
    assert any(each.startswith(promise) for each in found), found


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.torture)], ids=["few", "all"])
def test_crash_points_expose_a_bad_archiver(few: bool, tmp_path: Path) -> None:
    """Between its move and its record."""
    require_strace()
    bad = BadArchiver(tmp_path / "home", f"file://{tmp_path}/home/store")
    in_store(bad, "").mkdir(parents=True)
    bad_catalog = Program(bad.home, bad.store)
    bad_catalog.ok("ls")
    (bad.work / "clip").write_bytes(b"a take" * 100)
    template = shutil.copytree(bad.home, tmp_path / "template")
    tried = points(bad, ["upload", "clip"], tmp_path / "log")
    if few:
        tried = [point for point in tried if str(point) == "rename 1"] + tried[:: len(tried) // A_FEW]
    exposed = set()
    for point in tried:
        shutil.rmtree(bad.home)
        shutil.copytree(template, bad.home)
        before = look(bad)
        assert killed_at(point, bad, ["upload", "clip"])
        if violations(before, look(bad), recovered=False):
            exposed.add(str(point))
    assert "rename 1" not in exposed
    assert len(exposed) > 2
    assert len(exposed) < len(tried)
