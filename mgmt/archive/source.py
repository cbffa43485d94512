"""Reading a tree: changes to a file while it is read are detected."""

import os
import stat
import time
from collections.abc import Callable, Generator
from contextlib import closing
from operator import attrgetter
from typing import NamedTuple

from mgmt.archive.dirfd import OPEN_FILE, OPEN_FOLDER
from mgmt.archive.flush import clean_pages
from mgmt.archive.member import Type, decode
from mgmt.archive.tree import Entry, Skipped, Tally, Tree
from mgmt.archive.xattrs import read_xattrs
from mgmt.errors import MgmtError, RefusedError

_TICK_NS = 20_000_000

_Identity = tuple[int, int, int, int, int]
_identity: Callable[[os.stat_result], _Identity] = attrgetter(
    "st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"
)
"""What changes when a file is written or replaced."""


class Found(NamedTuple):
    """A future member: `link` as in Member; a file has a `descriptor`, open until the next one is requested."""

    entry: Entry
    type: Type
    link: str | None
    descriptor: int


class Source:
    """One pass over a tree."""

    def __init__(self, tree: Tree) -> None:
        self.tally = Tally(tree)
        self.skipped: list[Skipped] = []
        self._tree = tree
        self._beyond = memoryview(bytearray(1))

    def members(self) -> Generator[Found]:
        """Every member in the order of the walk. A file must be read to its end before the next one is requested.

        What cannot be opened is skipped and listed. Raises SourceChangedError for a file whose inode, size, mtime or
        ctime changed while it was read, and RefusedError for one that has more or fewer bytes than the system reports.
        Writes through a mapping are detected too, except on tmpfs.
        """
        with closing(self._tree.walk(self.skipped.append)) as walk:
            for entry in walk:
                self.tally.see(entry)
                kind, link = self.tally.type_of(entry)
                if kind == "f":
                    before = _identity(entry.stat)
                    try:
                        descriptor = os.open(entry.path, OPEN_FILE, dir_fd=entry.folder)
                    except OSError as error:
                        self.skipped.append(self._tree.unreadable(entry.name, error))
                        continue
                    found = Found(entry, kind, None, descriptor)
                    try:
                        self._watch(found, before)
                        self.tally.count(entry, kind)
                        yield found
                        self._check_end(found, before)
                    finally:
                        os.close(descriptor)
                    continue
                if kind == "l":
                    link = self._target(entry)
                self.tally.count(entry, kind)
                yield Found(entry, kind, link, -1)

    def read_into(self, found: Found, buffer: memoryview) -> int:
        """Read the next bytes of a file into `buffer`; return their number.

        At its end raises SourceChangedError, or RefusedError when its size was never what the system reports.
        """
        try:
            count = os.readv(found.descriptor, [buffer])
        except OSError as error:
            raise self._unreadable(found, error) from error
        if count == 0:
            raise self._not_its_size(found)
        return count

    def _check_end(self, found: Found, before: _Identity) -> None:
        """Raise unless the file ends here, and is what it was `before` it was read."""
        try:
            more = os.readv(found.descriptor, [self._beyond])
        except OSError as error:
            raise self._unreadable(found, error) from error
        if more:
            raise self._not_its_size(found)
        if _identity(os.fstat(found.descriptor)) != before:
            raise self._tree.changed(found.entry.name)

    def _unreadable(self, found: Found, error: OSError) -> MgmtError:
        """The error for a file that is open but cannot be read."""
        return MgmtError(f"{self._tree.disk_path(found.entry.name)} cannot be read: {error.strerror}")

    def _not_its_size(self, found: Found) -> MgmtError:
        """The error for a file that ends before or after its size."""
        if _identity(os.fstat(found.descriptor)) != _identity(found.entry.stat):
            return self._tree.changed(found.entry.name)
        path = self._tree.disk_path(found.entry.name)
        return RefusedError(
            f"{path} cannot be archived: it does not hold the {found.entry.stat.st_size} bytes that the system reports "
            "(as in /proc and /sys)",
            next_step="archive a copy of it, or leave it out with --exclude",
        )

    def xattrs(self, found: Found) -> dict[bytes, bytes]:
        """The extended attributes of a file or folder. Those of links are not kept."""
        if found.type not in ("f", "d"):
            return {}
        descriptor = found.descriptor
        try:
            if found.type == "d":
                descriptor = os.open(found.entry.path, OPEN_FOLDER, dir_fd=found.entry.folder)
            try:
                if _identity(os.fstat(descriptor))[:2] != _identity(found.entry.stat)[:2]:
                    raise self._tree.changed(found.entry.name)
                return read_xattrs(descriptor)
            finally:
                if found.type == "d":
                    os.close(descriptor)
        except OSError as error:
            raise MgmtError(
                f"the extended attributes of {self._tree.disk_path(found.entry.name)} cannot be read: {error.strerror}"
            ) from error

    def _watch(self, found: Found, before: _Identity) -> None:
        """Compare again, and make sure that from now on every write to the file changes its times."""
        entry, _, _, descriptor = found
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or _identity(status) != before:
            raise self._tree.changed(entry.name)
        # The kernel's timestamps advance in ticks of up to 10 ms. A file that was just written could be written again
        # within the same tick, without a change of its times; so wait for the tick to pass before reading.
        if abs(time.time_ns() - status.st_ctime_ns) < _TICK_NS:
            time.sleep(_TICK_NS / 1e9)
            if _identity(os.fstat(descriptor)) != before:
                raise self._tree.changed(entry.name)
        # This comes last: a page written within that tick is dirty again, and the times did not change.
        try:
            clean_pages(descriptor)
        except OSError as error:
            raise self._unreadable(found, error) from error

    def _target(self, entry: Entry) -> str:
        try:
            target = os.readlink(entry.path, dir_fd=entry.folder)
        except OSError as error:
            raise self._tree.changed(entry.name) from error
        return decode(os.fsencode(target))


def unreadable(tree: Tree) -> tuple[Skipped, ...]:
    """The files in `tree` that cannot be opened, which reading it would skip. Reads nothing."""
    skipped: list[Skipped] = []
    for entry in tree.walk(lambda _: None):
        if stat.S_ISREG(entry.stat.st_mode):
            try:
                os.close(os.open(entry.path, OPEN_FILE, dir_fd=entry.folder))
            except OSError as error:
                skipped.append(tree.unreadable(entry.name, error))
    return tuple(skipped)
