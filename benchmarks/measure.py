"""Running a command as a whole process, and what it cost."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run took, children included: wall and CPU seconds, and the peak memory of one process in bytes."""

    seconds: float
    cpu_seconds: float
    peak_rss: int


def run(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Cost:
    """Run `command` to its end. Raises CalledProcessError when it fails: the figure of a failure is none."""
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
