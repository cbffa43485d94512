"""Kills the command at an exact system call: the k-th one of its name, before the kernel runs it (strace(1)).

Random kills do not find a wrong order of steps; trying each k does.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.signal_at import forked
from tests.program import Done, Program

CALLS = (
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("openat", "write", "pwrite64", "ftruncate", "fsync", "fdatasync", "sendto"),
)
"""Calls that change a disk, a store or a catalog. Not every architecture has all of them."""

_PR_SET_PTRACER, _ANY_PROCESS = 0x59616D61, ctypes.c_ulong(-1)
_CALL = re.compile(r"^(\d+) +([a-z0-9]+)\((.*)", re.MULTILINE)
_CHANGES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")


@dataclass(frozen=True)
class Point:
    """Just before the `nth` call of `name` that one thread makes, counted from 1."""

    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name} {self.nth}"


def require_strace() -> None:
    """Skip the test where strace is missing."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: no crash points are tried")


def points(program: Program, arguments: list[str], log: Path) -> list[Point]:
    """Run the command without a kill, and return all its points.

    An `openat` for reading is counted, but is no point: a kill there has the same effect as one at the next point.
    """
    done = _traced(program, arguments, ["-e", f"trace={_known(CALLS)}", "-o", str(log)])
    assert done.returncode == 0, done
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[Point, None] = {}
    for thread, name, rest in _CALL.findall(log.read_text(errors="replace")):
        seen[thread, name] += 1
        if name != "openat" or _CHANGES.search(rest):
            found[Point(name, seen[thread, name])] = None
    return list(found)


def killed_at(point: Point, program: Program, arguments: list[str]) -> bool:
    """Run it; whether it was killed at `point`. It may have ended before: threads vary between runs."""
    what = f"inject={_known([point.name])}:signal=SIGKILL:when={point.nth}"
    done = _traced(program, arguments, ["-e", f"trace={_known([point.name])}", "-e", what, "-o", os.devnull])
    return done.returncode == -signal.SIGKILL


def _known(names: "tuple[str, ...] | list[str]") -> str:
    """With a question mark, strace ignores calls that this machine does not have."""
    return ",".join(f"?{name}" for name in names)


def _traced(program: Program, arguments: list[str], options: list[str]) -> Done:
    tracers = []

    def trace(child: int) -> None:
        os.waitpid(child, os.WUNTRACED)
        # Not --seccomp-bpf: with it, strace sends no signals.
        command = ["strace", "-f", *options, "-p", str(child)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        tracers.append(tracer)
        assert tracer.stderr is not None
        for line in tracer.stderr:
            if "attached" in line:
                break
        else:
            os.kill(child, signal.SIGKILL)
            pytest.skip("tracing a process is not permitted: no crash points are tried")
        os.kill(child, signal.SIGCONT)

    try:
        return forked(program, arguments, _wait_for_the_tracer, trace)
    finally:
        for tracer in tracers:
            tracer.communicate()


def _wait_for_the_tracer() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY_PROCESS, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
