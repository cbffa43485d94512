"""Whether the progress bar predicts the end of a command, and whether `--bwlimit` is kept."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.bench import MIB, Bench, Home, Row, program

QUARTERS = (0.25, 0.5, 0.75)
REAL = "the real time"
WITHIN = 0.2
"""The permitted error of the predicted total time, relative to the real one."""

LIMIT = 20 * MIB
KEPT = 0.9
"""The share of the limit that must be used, including the start of the process."""

BAR = re.compile(r"([\d.,]+)/([\d.,]+) (?:bytes|[kKMGT]i?B).*?(\d+):(\d\d):(\d\d)")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Seen:
    """The progress bar, `seconds` after the start."""

    seconds: float
    share: float
    remaining: float


def rows(bench: Bench) -> Iterator[Row]:
    """With and without a limit; for bytes that compress differently, and for many files."""
    mixed, media, many = bench.inputs.mixed_tree(), bench.inputs.media(4096 * MIB), bench.inputs.many_files(200_000)
    limit = bench.scaled(LIMIT)
    with bench.home() as home:
        limited = f"upload of the mixed tree, `--bwlimit {LIMIT // MIB}M`"
        yield from _predicted(home, limited, ["upload", "--keep", "--bwlimit", str(limit), str(mixed.path)])
        for what, source in (("4 GiB that do not compress", media), ("200,000 files", many)):
            key = f"{bench.name()}.tar.gz"
            yield from _predicted(home, f"upload of {what}", ["upload", "--keep", "--key", key, str(source.path)])
            with bench.scratch() as folder:
                yield from _predicted(home, f"download of {what}", ["download", key, "--to", str(folder)])
    with bench.home(bench.sink) as home:
        size = bench.inputs.media(512 * MIB)
        cost = home.upload(size.path, "--bwlimit", str(limit))
    rate = size.size / cost.seconds
    yield Row(
        "bytes a second of a whole upload", f"`--bwlimit {LIMIT // MIB}M`", rate / MIB, limit / MIB, "MiB/s",
        f"{rate / limit:.2f}×", f"≥ {KEPT}×, ≤ 1×", KEPT <= rate / limit <= 1.0,
    )  # fmt: skip


def _predicted(home: Home, what: str, arguments: list[str]) -> Iterator[Row]:
    seen, seconds = _watch(home, arguments)
    for quarter in QUARTERS:
        title, goal = f"{what}: the whole time, predicted at {quarter:.0%}", f"within {WITHIN:.0%}"
        at = next((each for each in seen if each.share >= quarter), None)
        if at is None:
            last = f"the bar ended at {seen[-1].share:.0%}" if seen else "there was no bar with a remaining time"
            yield Row(title, REAL, 0.0, seconds, "s", "", goal, False, last)
            continue
        predicted = at.seconds + at.remaining
        ratio = predicted / seconds
        yield Row(title, REAL, predicted, seconds, "s", f"{ratio:.2f}×", goal, abs(ratio - 1) <= WITHIN)


def _watch(home: Home, arguments: list[str]) -> tuple[list[Seen], float]:
    """Run mgmt at a terminal; returns the states of its bar, and the seconds taken. Raises CalledProcessError."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    command = [program(), *arguments]
    began = time.monotonic()
    environment = {**home.environment, "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=home.path, env=environment, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        seen = list(_bars(master, began))
        process.wait()
    os.close(master)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seen, time.monotonic() - began


def _bars(terminal: int, began: float) -> Iterator[Seen]:
    """Every state of the bar with a remaining time, until the terminal is closed."""
    text = ""
    while True:
        try:
            text += os.read(terminal, 1 << 16).decode(errors="replace")
        except OSError:
            return
        for match in BAR.finditer(ESCAPE.sub("", text)):
            done, total, hours, minutes, seconds = (float(each.replace(",", "")) for each in match.groups())
            yield Seen(time.monotonic() - began, done / total, hours * 3600 + minutes * 60 + seconds)
            text = ""
