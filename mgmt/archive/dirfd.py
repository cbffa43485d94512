"""Access to a tree of folders by descriptor: no link is followed, and no depth is too deep."""

import errno
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from mgmt.errors import IntegrityError
from mgmt.paths import mount_of

OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """A position in the tree below a folder. It holds one descriptor for the position and one for the top.

    The top may be a link; below it no link is followed.
    """

    def __init__(self, path: str) -> None:
        self._top = os.open(path, OPEN_FOLDER & ~os.O_NOFOLLOW)
        self._here = os.dup(self._top)
        self._parts: list[bytes] = []
        self._entered: Sequence[bytes] | None = ()
        self._above: list[tuple[int, int]] = []  # device and inode of the folder that holds each of the parts

    def enter(self, parts: Sequence[bytes]) -> int:
        """Go to the folder `parts` below the top; return its descriptor, which is valid until the next call.

        Raises OSError where there is no folder, and IntegrityError when one was moved concurrently.
        """
        if parts == self._entered:
            return self._here
        self._entered = None
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
                raise IntegrityError("a folder was moved by another process while it was restored")
        for part in parts[common:]:
            above = _identity(self._here)
            self._go(os.open(part, OPEN_FOLDER, dir_fd=self._here))
            self._above.append(above)
            self._parts.append(part)
        self._entered = parts
        return self._here

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self._here)
        os.close(self._top)

    def _go(self, descriptor: int) -> None:
        self._here = _switch(self._here, descriptor)


def remove_tree(folder: str | int, name: str) -> None:
    """Remove `name` in `folder` with everything in it, whatever its depth and modes.

    `folder` is a path, or a descriptor, which stays open. No link is followed and no other file system entered: what
    is mounted in the tree is left unchanged. Raises OSError with the path of the first entry that cannot be removed;
    calling it again resumes the removal.
    """
    if isinstance(folder, int):
        _Removal(os.dup(folder), []).remove(os.fsencode(name))
    else:
        _Removal(os.open(folder, OPEN_FOLDER & ~os.O_NOFOLLOW), [os.fsencode(folder)]).remove(os.fsencode(name))


class _Level(NamedTuple):
    """A folder above the current one: its name, the identity of its parent, and what else to remove in that parent."""

    name: bytes
    above: tuple[int, int]
    names: list[bytes]


class _Removal:
    """Removes a tree bottom-up, without recursion and with one descriptor."""

    def __init__(self, here: int, place: list[bytes]) -> None:
        self._here = here
        self._place = place
        self._levels: list[_Level] = []
        self._mount: tuple[int, bytes] | None = None  # that of the root

    def remove(self, name: bytes) -> None:
        names = [name]
        try:
            while names or self._levels:
                if not names:
                    name, above, names = self._levels.pop()
                    self._go_back(above)
                    os.rmdir(name, dir_fd=self._here)
                    continue
                name = names.pop()
                if stat.S_ISDIR(os.lstat(name, dir_fd=self._here).st_mode):
                    above = _identity(self._here)
                    self._enter(name)
                    self._levels.append(_Level(name, above, names))
                    names = [os.fsencode(each) for each in os.listdir(self._here)]
                else:
                    os.unlink(name, dir_fd=self._here)
        except OSError as error:
            path = b"/".join([*self._place, *(level.name for level in self._levels), name])
            raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error
        finally:
            os.close(self._here)

    def _go_back(self, above: tuple[int, int]) -> None:
        self._here = _switch(self._here, os.open("..", OPEN_FOLDER, dir_fd=self._here))
        if _identity(self._here) != above:
            raise OSError(errno.ESTALE, "was moved during its removal")

    def _enter(self, name: bytes) -> None:
        try:
            folder = os.open(name, OPEN_FOLDER, dir_fd=self._here)
        except PermissionError:
            _allow_all(name, self._here)
            folder = os.open(name, OPEN_FOLDER, dir_fd=self._here)
        try:
            self._refuse_mount(folder)
            if os.fstat(folder).st_mode & 0o700 != 0o700:
                with suppress(PermissionError):  # not the owner; unlink reports it if that matters
                    os.fchmod(folder, 0o700)
        except OSError:
            os.close(folder)
            raise
        self._here = _switch(self._here, folder)

    def _refuse_mount(self, folder: int) -> None:
        mount = mount_of(folder)
        self._mount = self._mount or mount
        if mount != self._mount:
            raise OSError(errno.EBUSY, "is a mount point")


def _allow_all(name: bytes, folder: int) -> None:
    """Give the owner all permissions on the folder `name`, without following a link in its place."""
    if sys.platform != "linux":
        os.chmod(name, 0o700, dir_fd=folder, follow_symlinks=False)
        return
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    finally:
        os.close(descriptor)


def _switch(old: int, new: int) -> int:
    os.close(old)
    return new


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
