"""The interface through which services report progress."""

from typing import Protocol


class Progress(Protocol):
    """Shows the progress of one task at a time. Transfer threads call it, so each method must be thread-safe."""

    def start(self, task: str, total: int | None = None) -> None:
        """Begin `task` ("upload photos"). `total` is in bytes, None if it is unknown."""
        ...

    def advance(self, count: int) -> None:
        """Add `count` bytes; a retry takes bytes back with a negative count."""
        ...

    def note(self, message: str) -> None:
        """Show a message that is neither a result nor an error."""
        ...

    def stop(self) -> None:
        """End the task, successful or not. May be called twice."""
        ...


class NoProgress:
    """Shows nothing."""

    def start(self, task: str, total: int | None = None) -> None:
        """Ignore it."""

    def advance(self, count: int) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Ignore it."""

    def stop(self) -> None:
        """Ignore it."""


class CountedProgress:
    """Shows what another one does, and counts."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self.done = 0
        """Bytes of the current task."""
        self.total: int | None = None
        """Bytes of the current task, if they are known."""

    def start(self, task: str, total: int | None = None) -> None:
        """Count from 0 again."""
        self.done, self.total = 0, total
        self._shown.start(task, total)

    def advance(self, count: int) -> None:
        """Count `count` bytes. Of two threads that do so at once, one may go uncounted: it is shown to people only."""
        self.done += count
        self._shown.advance(count)

    def note(self, message: str) -> None:
        """Show `message`."""
        self._shown.note(message)

    def stop(self) -> None:
        """End the task."""
        self._shown.stop()
