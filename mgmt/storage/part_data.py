"""The bytes of one part of an upload until it has arrived: in memory, or in a file if parts are large."""

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from mgmt.errors import StoreError
from mgmt.storage.checksums import Data

MIB = 1 << 20
IN_MEMORY = 16 * MIB
"""The largest part size that is kept in memory: as many as are in transit at once take less than 100 MiB together."""

SMALL_PIECE = MIB // 4
"""Pieces smaller than this on average are joined: a copy is cheaper than a system call for each."""


class PartData(Protocol):
    """The bytes of a part, in pieces. It can be iterated as often as the part has to be sent, also by two threads."""

    size: int

    def append(self, data: Data) -> None:
        """Add `data` at the end."""
        ...

    def complete(self) -> None:
        """No more is added."""
        ...

    def __iter__(self) -> Iterator[Data]: ...


class InMemory:
    """A part in memory (`PartData`)."""

    def __init__(self, pieces: Iterable[Data] = ()) -> None:
        self._pieces = list(pieces)
        self.size = sum(map(len, self._pieces))

    def append(self, data: Data) -> None:
        """Keep `data` itself, which the caller must not change."""
        self._pieces.append(data)
        self.size += len(data)

    def complete(self) -> None:
        """Join small pieces."""
        if self.size < len(self._pieces) * SMALL_PIECE:
            self._pieces = [b"".join(self._pieces)]

    def __iter__(self) -> Iterator[Data]:
        return iter(self._pieces)


class InFile:
    """A part in a temporary file without a name (`PartData`). It is gone as soon as nothing refers to it."""

    def __init__(self, folder: str) -> None:
        self.size = 0
        self._folder = folder
        with self._space(), tempfile.TemporaryFile(dir=folder) as file:
            self._fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._fd)

    def append(self, data: Data) -> None:
        """Write `data`. Raises StoreError when the disk is full."""
        left = memoryview(data)
        with self._space():
            while left:
                left = left[os.write(self._fd, left) :]
        self.size += len(data)

    def complete(self) -> None:
        """Everything is written already."""

    def __iter__(self) -> Iterator[Data]:
        position = 0
        while position < self.size:
            try:
                piece = os.pread(self._fd, min(MIB, self.size - position), position)
            except OSError as exc:
                raise self._unreadable(exc.strerror) from exc
            if not piece:
                raise self._unreadable(f"{self.size - position} bytes are missing")
            position += len(piece)
            yield piece

    def _unreadable(self, reason: str | None) -> StoreError:
        return StoreError(
            f"a part of an upload that waited in {self._folder} cannot be read: {reason}",
            next_step="set TMPDIR to a folder on another disk, and run the same command again",
        )

    @contextmanager
    def _space(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise _no_space(f"a part of an upload cannot be written to {self._folder}: {exc.strerror}") from exc


def _no_space(message: str) -> StoreError:
    return StoreError(
        message, next_step="set TMPDIR to a folder with room for four parts, and run the same command again"
    )


def new_part(part_size: int, folder: str | None) -> PartData:
    """An empty part, for parts of `part_size` bytes. Large ones are files in `folder`, or where `TMPDIR` says.

    Raises StoreError if they cannot be written.
    """
    if part_size <= IN_MEMORY:
        return InMemory()
    try:
        return InFile(folder or tempfile.gettempdir())
    except FileNotFoundError as exc:  # of all folders that tempfile tries, none can be written to
        raise _no_space("there is no folder for the large parts of an upload") from exc
