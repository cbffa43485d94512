"""Requested operations, as tests request them, wait for them, and let workers run them."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.forked import Forked
from tests.hosts import become
from tests.program import Program

SECONDS = 600
"""Longer than any worker takes on a busy machine."""


@dataclass
class _OnHost(Program):
    host: str = ""

    def main(self, arguments: list[str]) -> int:
        """Run the command in this process; returns its exit status."""
        before = socket.gethostname
        become(self.host)
        try:
            return super().main(arguments)
        finally:
            socket.gethostname = before


def on(host: str, program: Program) -> Program:
    """The same program on a machine of this name; the machines share a disk."""
    return _OnHost(program.home, program.store, program.environment, program.catalogs, host)


def write(program: Program, *names: str) -> None:
    """Write files below its work folder, each with a content of its own."""
    for name in names:
        path = program.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(f"contents of {name}"))


def requested(program: Program, *words: str) -> list[str]:
    """The ids of the operations that this command has requested."""
    return program.ok("-q", *words).split()


def statuses(program: Program) -> dict[str, str]:
    """The status of each operation, the newest first."""
    return dict(program.records.rows("SELECT operation_id, status FROM operations ORDER BY seq DESC"))


def operation(program: Program, operation_id: str) -> dict[str, Any]:
    """An operation as `mgmt log` shows it."""
    found = [each for each in program.json("log", "--limit", "100000") if each["operation_id"] == operation_id]
    assert len(found) == 1
    return dict(found[0])


def jobs_left(program: Program) -> int:
    """How many requested operations have not ended."""
    return int(program.records.rows("SELECT count(*) FROM jobs")[0][0])


def work_off(program: Program, *words: str) -> list[dict[str, Any]]:
    """Run a worker until nothing is left, and return what it says."""
    done = program.run("-q", "-o", "jsonl", "worker", "--until-empty", *words)
    assert done.returncode in (0, 3), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ended(process: Forked) -> tuple[int, str]:
    """The exit status and all output of a process that ends by itself."""
    process.wait(SECONDS)
    output, errors = process.communicate()
    assert process.returncode is not None
    return process.returncode, output + errors


def archives(program: Program) -> list[str]:
    """The keys in its directory of archives."""
    folder = Path(program.store.removeprefix("file://"))
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*.tar.gz"))


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask now and then; what is asked takes CPU time from what is waited for."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(pid: int) -> Iterator[int]:
    """The live children of a process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] not in "ZX":
            yield int(folder.name)


def kill(*pids: int) -> None:
    """Send SIGKILL to those that have not ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_all_of(worker: Forked) -> None:
    """Kill a worker and its processes."""
    kill(*children_of(worker.pid), worker.pid)
    ended(worker)


def stop_before_the_proof() -> None:
    """Let an upload or a verification stop before it proves anything; SIGCONT lets it go on."""
    _before("mgmt.services.upload", "prove", signal.SIGSTOP)
    _before("mgmt.services.verify", "prove_again", signal.SIGSTOP)


def die_after_the_move() -> None:
    """Let an upload die when its original is moved and that is not recorded."""
    move = vars(import_module("mgmt.services.steps.move_original"))
    moved = move["move"]

    def moved_and_dead(*arguments: Any, **options: Any) -> None:
        moved(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    move["move"] = moved_and_dead


def _before(module: str, function: str, happens: int) -> None:
    names = vars(import_module(module))
    original = names[function]

    def signalled(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), happens)
        return original(*arguments, **options)

    names[function] = signalled
