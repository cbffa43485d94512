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
        while piece := os.pread(self._fd, MIB, position):
            position += len(piece)
            yield piece

    @contextmanager
    def _space(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise StoreError(
                f"large parts of an upload wait in {self._folder}, which has no room for them: {exc.strerror}",
                next_step="set TMPDIR to a folder with room for four parts, and run the same command again",
            ) from exc


def new_part(part_size: int, folder: str | None) -> PartData:
    """An empty part, for parts of `part_size` bytes. Large ones are files in `folder`, or where `TMPDIR` says."""
    return InMemory() if part_size <= IN_MEMORY else InFile(folder or tempfile.gettempdir())
