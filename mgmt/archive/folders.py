"""Moving about in a tree of folders by descriptor, where no link can lead astray and no depth is too deep."""

import os
import stat
from collections.abc import Sequence

from mgmt.errors import IntegrityError

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """A place in the tree below a folder. One descriptor is held for the place and one for the top.

    The top may be a link; below it, none is followed.
    """

    def __init__(self, path: str) -> None:
        self._top = os.open(path, OPEN_FOLDER & ~os.O_NOFOLLOW)
        self._here = os.dup(self._top)
        self._parts: list[bytes] = []
        self._above: list[tuple[int, int]] = []  # device and inode of the folder that holds each of the parts

    def enter(self, parts: Sequence[bytes]) -> int:
        """Go to the folder `parts` below the top; give its descriptor, which is good until the next call.

        Raises OSError where there is no folder, and IntegrityError when one was moved meanwhile.
        """
        common = 0
        for old, new in zip(self._parts, parts, strict=False):
            if old != new:
                break
            common += 1
        if common == 0:
            self._go(os.dup(self._top))
            self._parts.clear()
            self._above.clear()
        while len(self._parts) > common:
            self._go(os.open("..", OPEN_FOLDER, dir_fd=self._here))
            self._parts.pop()
            if _identity(self._here) != self._above.pop():
                raise IntegrityError("a folder was moved by someone else while it was being restored")
        for part in parts[common:]:
            above = _identity(self._here)
            self._go(os.open(part, OPEN_FOLDER, dir_fd=self._here))
            self._above.append(above)
            self._parts.append(part)
        return self._here

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self._here)
        os.close(self._top)

    def _go(self, descriptor: int) -> None:
        self._here = _switch(self._here, descriptor)


def remove_tree(folder: str, name: str) -> None:
    """Remove what is called `name` in `folder`, with everything in it, however deep and whatever its modes."""
    here = os.open(folder, OPEN_FOLDER & ~os.O_NOFOLLOW)
    try:
        above: list[tuple[bytes, list[bytes]]] = []
        names = [os.fsencode(name)]
        while names or above:
            if not names:
                here = _switch(here, os.open("..", OPEN_FOLDER, dir_fd=here))
                gone, names = above.pop()
                os.rmdir(gone, dir_fd=here)
                continue
            child = names.pop()
            if stat.S_ISDIR(os.lstat(child, dir_fd=here).st_mode):
                os.chmod(child, 0o700, dir_fd=here)
                here = _switch(here, os.open(child, OPEN_FOLDER, dir_fd=here))
                above.append((child, names))
                names = [os.fsencode(each) for each in os.listdir(here)]
            else:
                os.unlink(child, dir_fd=here)
    finally:
        os.close(here)


def _switch(old: int, new: int) -> int:
    os.close(old)
    return new


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
