"""How services tell whoever is watching how far they have come."""

from typing import Protocol


class Progress(Protocol):
    """A watcher of one task at a time. Called from transfer threads too, so each method must be thread-safe."""

    def start(self, task: str, total: int | None = None) -> None:
        """Begin `task` ("upload photos"); `total` is in bytes, None when it is not known."""
        ...

    def advance(self, count: int) -> None:
        """`count` more bytes are done; a retry gives bytes back as a negative count."""
        ...

    def note(self, message: str) -> None:
        """Something the user should know that is neither a result nor an error."""
        ...

    def stop(self) -> None:
        """The task has ended, well or not. Stopping twice is harmless."""
        ...


class NoProgress:
    """Nobody is watching."""

    def start(self, task: str, total: int | None = None) -> None:
        """Ignore it."""

    def advance(self, count: int) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Ignore it."""

    def stop(self) -> None:
        """Ignore it."""
