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
