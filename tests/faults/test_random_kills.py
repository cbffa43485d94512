"""Promises 1 to 8 when an upload of several files is killed at random times, again and again."""

import random
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.faults.history import look, violations
from tests.program import Program

NAMES = ("clip", "folder", "notes")


def make_originals(program: Program, chance: random.Random) -> None:
    for name in ("clip", "notes"):
        (program.work / name).write_bytes(chance.randbytes(chance.randrange(1, 2_000_000)))
    (program.work / "folder").mkdir()
    for number in range(30):
        (program.work / "folder" / f"{number}").write_bytes(chance.randbytes(chance.randrange(20_000)))


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.torture)])
@pytest.mark.parametrize("where", ["on_directory", "on_seaweed"])
@pytest.mark.usefixtures("catalogs")
def test_kills_at_random_times_break_no_promise(
    where: str, kills: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    on: Program = request.getfixturevalue(where)
    server = request.getfixturevalue("seaweed") if where == "on_seaweed" else None
    chance = random.Random(kills)
    killed = number = 0
    seconds = 2.0
    while killed < kills:
        number += 1
        home = on.home / str(number)
        (home / "tmp").mkdir(parents=True)
        monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
        store = f"{on.store}/{number}" if server else f"file://{home}/store"
        if server is None:
            (home / "store").mkdir()
        program = replace(on, home=home, store=store, environment={**on.environment, "TMPDIR": str(home / "tmp")})
        program.ok("ls")
        make_originals(program, chance)
        before = look(program, server)
        began = time.monotonic()
        with program.fork("upload", *NAMES) as running:
            try:
                running.wait(chance.uniform(0, seconds))
                seconds = time.monotonic() - began
            except subprocess.TimeoutExpired:
                running.kill()
            running.communicate()
        killed += running.returncode == -signal.SIGKILL
        assert violations(before, look(program, server), recovered=False) == []
        program.ok("recover")
        assert violations(before, look(program, server), recovered=True) == []
        left = [name for name in NAMES if (program.work / name).exists()]
        if left:
            program.ok("upload", *left)
        now = look(program, server)
        assert violations(before, now, recovered=True) == []
        assert {Path(path).name for path in now.places} == set(NAMES)
        assert len(now.objects) == 2 * len(NAMES)
    figure("2", f"kills at random times, {where.removeprefix('on_')}", tried=killed, violations=0)
