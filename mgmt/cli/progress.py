"""Progress on stderr: a bar at a terminal, elsewhere a plain line every 30 seconds."""

import sys
import threading
import time
from typing import TYPE_CHECKING

from mgmt.progress import NoProgress, Progress
from mgmt.shown import human_size, safe

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LINE_SECONDS = 30.0


def terminal_progress(*, quiet: bool) -> Progress:
    """The Progress for stderr: none if `quiet`, a bar at a terminal, otherwise a line every 30 seconds."""
    if quiet:
        return NoProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


def _remaining(seconds: float) -> str:
    """`45 s`, `12 min` or `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def progress_of(each: object) -> str | None:
    """How far an operation is, for people; None if that is not known."""
    done, total = getattr(each, "done_bytes", None), getattr(each, "total_bytes", None)
    if not isinstance(done, int):
        return None
    shown = (
        human_size(done)
        if not isinstance(total, int) or not total
        else f"{min(1, done / total):.0%} of {human_size(total)}"
    )
    left = getattr(each, "seconds_left", None)
    return shown if left is None else f"{shown}, {_remaining(left)} left"


class BarProgress:
    """A bar with rate and remaining time, drawn on stderr by rich (which honours NO_COLOR)."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, task: str, total: int | None = None) -> None:
        """Draw a bar for `task`; `total` is in bytes."""
        from rich import progress
        from rich.console import Console

        self.stop()
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(safe(task), total=total)
        self._bar.start()

    def advance(self, count: int) -> None:
        """Move the bar by `count` bytes."""
        bar, task = self._bar, self._task  # another thread may stop it
        if bar is not None and task is not None:
            bar.advance(task, count)

    def note(self, message: str) -> None:
        """Print `message` above the bar."""
        if self._bar is not None:
            self._bar.console.print(safe(message), soft_wrap=True, markup=False, emoji=False, highlight=False)
        else:
            print(safe(message), file=sys.stderr)

    def stop(self) -> None:
        """Remove the bar."""
        bar, self._bar, self._task = self._bar, None, None
        if bar is not None:
            bar.stop()


class LineProgress:
    """A plain line every 30 seconds, for logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stop()

    def start(self, task: str, total: int | None = None) -> None:
        """Start counting for `task`; the first line is printed after 30 seconds."""
        with self._lock:
            self._description, self._total, self._done = task, total, 0
            self._began = self._printed = time.monotonic()

    def advance(self, count: int) -> None:
        """Count `count` bytes, and print a line if one is due."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if not self._description or now - self._printed < LINE_SECONDS:
                return
            self._printed = now
            rate = self._done / (now - self._began)
            line = f"{safe(self._description)}: {human_size(self._done)}"
            if self._total:
                left = max(0, self._total - self._done)
                line += f" of {human_size(self._total)} ({min(1, self._done / self._total):.0%})"
                line += f", {left / rate:.0f} s left" if rate else ""
            print(f"{line}, {human_size(int(rate))}/s", file=sys.stderr, flush=True)

    def note(self, message: str) -> None:
        """Print `message`."""
        print(safe(message), file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Print no more lines for the task."""
        self._description, self._total, self._done = "", None, 0
        self._began = self._printed = time.monotonic()
