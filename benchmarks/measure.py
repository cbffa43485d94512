"""Runs a command as a whole process and measures its cost.

Run as a program, this module is the small process that starts the command. A child inherits the peak memory of its
parent, so a command started by a large process would never appear to need less.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Cost:
    """The cost of a run, including children: wall and CPU seconds, and the peak memory of one process in bytes."""

    seconds: float
    cpu_seconds: float
    peak_rss: int
    output: str = ""
    """Its stdout and stderr."""


def run(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Cost:
    """Run `command` to its end. Raises CalledProcessError if it fails: a failure has no figure."""
    reading, writing = os.pipe()
    with open(reading) as answer:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", __file__, str(writing), *command],
                cwd=cwd,
                env=environment,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                text=True,
                errors="replace",
            )
        finally:
            os.close(writing)
        figures = answer.read().split()
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, command, done.stdout)
        error.add_note(done.stdout)
        raise error
    return Cost(float(figures[0]), float(figures[1]), int(figures[2]), done.stdout)


def pipeline(script: str, *, cwd: Path, environment: Mapping[str, str]) -> Cost:
    """Run a shell pipeline and measure all its commands. It fails if one of them fails."""
    return run(["bash", "-o", "pipefail", "-c", script], cwd=cwd, environment=environment)


def middle(costs: Sequence[Cost]) -> Cost:
    """The medians, but the maximum of the memory."""
    return Cost(
        median(each.seconds for each in costs),
        median(each.cpu_seconds for each in costs),
        max(each.peak_rss for each in costs),
        costs[-1].output,
    )


def _launch(answer: int, command: list[str]) -> int:
    os.set_inheritable(answer, False)
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024
    os.write(answer, f"{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss * unit}".encode())
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_launch(int(sys.argv[1]), sys.argv[2:]))
