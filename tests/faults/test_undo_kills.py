"""An undo that is killed at any system call is finished by the same command, with or without `recover` in between."""

import random
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.catalogs import Catalogs
from tests.faults.crash_points import killed_at, points, require_strace
from tests.integration.test_undo import check, last, state
from tests.program import Program

pytestmark = pytest.mark.sqlite

POINTS = 3
"""Points tried by default of each undo, chosen at random."""

CASES = [
    "upload clip",
    "upload shoot --keep-archive kept",
    "upload shoot; free shoot --yes",
    "upload clip; free clip --yes !",
    "upload clip; delete clip --yes !",
    "upload shoot; download shoot --to back !",
    "upload shoot; download shoot --archive --to back !",
    "upload clip shoot",
]
"""Lines; what is undone is the first of them, or the last one if that ends with `!`."""


@pytest.fixture
def prepare(tmp_path: Path, catalogs: Catalogs) -> Callable[[str], tuple[Program, str, object]]:
    """Makes a world, plays the lines of a case in it, and tells which operation to undo, and the state then."""
    made = 0

    def world(case: str) -> tuple[Program, str, object]:
        nonlocal made
        made += 1
        home = tmp_path / str(made)
        (home / "store").mkdir(parents=True)
        program = Program(home, f"file://{home}/store", catalogs=catalogs)
        (program.work / "clip").write_bytes(b"a take of the third day\n" * 30)
        (program.work / "shoot" / "day 1").mkdir(parents=True)
        (program.work / "shoot" / "day 1" / "take").write_text("one")
        (program.work / "shoot" / "notes").write_text("two")
        for name in ("back", "kept"):
            (program.work / name).mkdir()
        before, operations = [], []
        for line in case.removesuffix(" !").split("; "):
            before.append(state(program))
            program.ok(*shlex.split(line))
            operations.append(last(program))
        at = -1 if case.endswith("!") else 0
        return program, operations[at], _relative(before[at], program)

    return world


def _relative(found: object, program: Program) -> str:
    """A state without the name of its world."""
    return repr(found).replace(str(program.home), "")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("some", [True, pytest.param(False, marks=pytest.mark.torture)])
def test_an_undo_that_is_killed_is_finished_by_the_same_command(
    prepare: Callable[[str], tuple[Program, str, object]], tmp_path: Path, case: str, some: bool
) -> None:
    require_strace()
    program, operation, before = prepare(case)
    found = points(program, ["undo", operation, "--yes"], tmp_path / "log")
    assert _relative(state(program), program) == before
    if some:
        found = random.Random(zlib.crc32(case.encode())).sample(found, POINTS)
    for number, point in enumerate(found):
        program, operation, before = prepare(case)
        killed_at(point, program, ["undo", operation, "--yes"])
        if number % 2:
            program.ok("recover")
        done = program.run("undo", operation, "--yes")
        assert done.returncode == 0, (str(point), done)
        program.ok("recover")
        assert _relative(state(program), program) == before, str(point)
        check(program)
