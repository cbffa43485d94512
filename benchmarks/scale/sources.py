"""Generated sources of archives: files that no disk could hold.

They replace `mgmt.archive.source.Source`, which asks the kernel what there is and reads it; all else of the writer is
as it is. Each yields a path and a status as a walk of a real tree would.
"""

import random
import stat
from collections.abc import Generator
from typing import Any, NamedTuple

from mgmt.archive.source import Found
from mgmt.archive.tree import Entry, Tally, Tree

MIB = 1 << 20
POOL = 8 * MIB
"""Bytes that do not compress, from which files are cut, each at another place."""

FILE = stat.S_IFREG | 0o644
FOLDER = stat.S_IFDIR | 0o755
IN_A_FOLDER = 1_000
STEP = 4099


class Status(NamedTuple):
    """What `os.stat` returns, as far as the writer looks."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ino: int
    st_dev: int = 1
    st_nlink: int = 1
    st_uid: int = 1000
    st_gid: int = 1000

    @property
    def st_ctime_ns(self) -> int:
        """The same as the time of modification."""
        return self.st_mtime_ns


def _pool() -> bytes:
    chance = random.Random(1)
    return b"".join(chance.randbytes(MIB) for _ in range(POOL // MIB))


class Generated:
    """A source whose members a subclass lists; the content of every file is random, and differs."""

    def __init__(self, tree: Tree) -> None:
        self.tally = Tally(tree)
        self.skipped: list[Any] = []
        self.tree = tree
        self._pool = memoryview(_pool())
        self._at = 0

    def entries(self) -> Generator[tuple[str, Status]]:
        """The name and the status of each member."""
        raise NotImplementedError

    def members(self) -> Generator[Found]:
        """As `Source.members`, without opening anything."""
        for name, status in self.entries():
            entry = Entry(None, b"", name, status)  # type: ignore[arg-type]
            self.tally.see(entry)
            kind, link = self.tally.type_of(entry)
            self.tally.count(entry, kind)
            yield Found(entry, kind, link, -1)

    def read_into(self, _found: Found, buffer: memoryview) -> int:
        """Fill as much of `buffer` as the pool holds at once."""
        self._at = (self._at + STEP) % (POOL - len(buffer))
        buffer[:] = self._pool[self._at : self._at + len(buffer)]
        return len(buffer)


class OneFile(Generated):
    """One file of `size` bytes."""

    size = 0

    def entries(self) -> Generator[tuple[str, Status]]:
        """The file alone."""
        yield self.tree.name, Status(FILE, self.size, 1_700_000_000_123_456_789, 1)


class ManyFiles(Generated):
    """A folder with `count` small files, a thousand in each folder."""

    count = 0

    def entries(self) -> Generator[tuple[str, Status]]:
        """Depth first, siblings by their names."""
        root, began = self.tree.name, 1_700_000_000_123_456_789
        yield root, Status(FOLDER, 0, began, 1)
        folder = root
        for number in range(self.count):
            if number % IN_A_FOLDER == 0:
                folder = f"{root}/{number // IN_A_FOLDER:05}"
                yield folder, Status(FOLDER, 0, began + number, 2 + number)
            size = 500 + number * 7919 % 3000
            yield f"{folder}/IMG_{number:08}.jpg", Status(FILE, size, began + number * 1_000, 20_000_000 + number)
