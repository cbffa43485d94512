"""Promise 4: with many processes and one catalog, each file is archived exactly once."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.faults.history import archived, look, violations
from tests.program import Program

PROCESSES = 8
DONE, PARTIAL, NOT_FOUND, BUSY = 0, 3, 4, 11
ALLOWED = {DONE, PARTIAL, NOT_FOUND, BUSY}
"""Exit statuses of a process: it did all, or another process did or is doing some or all of it."""


def run_together(program: Program, commands: list[list[str]]) -> None:
    """Start all and wait for all; each ends with an allowed status and a clear error."""
    running = [program.fork(*command) for command in commands]
    ended = [process.communicate() for process in running]
    for process, (_, stderr) in zip(running, ended, strict=True):
        assert process.returncode in ALLOWED, stderr
        assert "Traceback" not in stderr
        assert "database is locked" not in stderr


def archives_of(program: Program) -> Counter[str]:
    """The number of successful uploads of each original."""
    query = "SELECT target_path FROM operations WHERE operation_type = 'upload' AND status = 'success'"
    return Counter(path for (path,) in program.records.rows(query))


@pytest.mark.parametrize("each", [12, pytest.param(1000, marks=pytest.mark.torture)])
def test_files_on_overlapping_lists_are_archived_once(each: int, on_directory: Program, figure: Figure) -> None:
    """Each process has `each` files; their second half is the first half of the next process."""
    on_directory.ok("ls")
    names = [f"take {number:05}" for number in range(each // 2 * (PROCESSES + 1))]
    for name in names:
        (on_directory.work / name).write_text(f"contents of {name}")
    commands = []
    for process in range(PROCESSES):
        part = names[each // 2 * process :][:each]
        listing = on_directory.home / f"list-{process}"
        listing.write_bytes(b"".join(os.fsencode(on_directory.work / name) + b"\0" for name in part))
        commands.append(["-q", "upload", "-0", "--files-from", str(listing)])
    before = look(on_directory)
    run_together(on_directory, commands)
    now = look(on_directory)
    assert violations(before, now, recovered=True) == []
    assert archives_of(on_directory) == Counter(str(on_directory.work / name) for name in names)
    contents = {archived(data) for key, data in now.objects.items() if key.endswith(".tar.gz")}
    assert contents == {(("", f"contents of {name}".encode()),) for name in names}
    assert len(now.objects) == 2 * len(names)
    assert {path.name for path in now.places if path.parent.name == "completed"} == set(names)
    figure(4, f"files that {PROCESSES} processes archive from overlapping lists", tried=len(names), violations=0)


@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.torture)])
def test_a_file_uploaded_by_many_processes_is_archived_once(rounds: int, on_directory: Program, figure: Figure) -> None:
    on_directory.ok("ls")
    for number in range(rounds):
        path: Path = on_directory.work / f"clip {number}"
        path.write_text(f"round {number}")
        run_together(on_directory, [["-q", "upload", path.name]] * PROCESSES)
        assert archives_of(on_directory)[str(path)] == 1
        assert not path.exists()
        assert (on_directory.work / "completed" / path.name).read_text() == f"round {number}"
    assert violations(look(on_directory), look(on_directory), recovered=True) == []
    figure(4, f"rounds of {PROCESSES} processes on one file", tried=rounds, violations=0)
