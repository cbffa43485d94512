"""A walk over a folder that is not archived but compared; no link is followed."""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from mgmt.errors import MgmtError

_PIECE = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Found(NamedTuple):
    """An entry of a folder: its path relative to the folder where the walk began.

    `kind` is `f` (file), `d` (folder), `l` (symbolic link), `o` (other), or `!` for a folder that cannot be read.
    """

    path: str
    kind: str
    reason: str = ""


class Walk:
    """The entries below `root`, sorted within each folder. Call `prune` to leave out the folder just seen."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._pruned = False

    def prune(self) -> None:
        """Do not enter the folder that was yielded last."""
        self._pruned = True

    def __iter__(self) -> Iterator[Found]:
        left = [iter(self._entries(""))]
        while left:
            found = next(left[-1], None)
            if found is None:
                left.pop()
                continue
            self._pruned = False
            yield found
            if found.kind == "d" and not self._pruned:
                left.append(iter(self._entries(found.path)))

    def _entries(self, folder: str) -> list[Found]:
        where = os.path.join(self._root, folder)
        try:
            with os.scandir(where) as entries:
                names = sorted((each.name, _kind(each)) for each in entries)
        except OSError as exc:
            if not folder:
                raise MgmtError(f"{where} cannot be read: {exc.strerror}", next_step="check its permissions") from exc
            return [Found(folder, "!", exc.strerror or "it cannot be read")]
        return [Found(f"{folder}/{name}" if folder else name, kind) for name, kind in names]


def _kind(entry: "os.DirEntry[str]") -> str:
    if entry.is_symlink():
        return "l"
    if entry.is_dir(follow_symlinks=False):
        return "d"
    return "f" if entry.is_file(follow_symlinks=False) else "o"


def pieces(root: str, path: str) -> Iterator[memoryview]:
    """The content of the file at `path` below `root`; each piece is valid until the next. Raises OSError."""
    descriptor = os.open(os.path.join(root, path), _OPEN)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no longer a file")
        buffer = bytearray(_PIECE)
        view = memoryview(buffer)
        while count := os.readv(descriptor, [buffer]):
            yield view[:count]
    finally:
        os.close(descriptor)
