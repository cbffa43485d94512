"""What a file or folder on disk would be in an archive, member by member, without archiving it."""

import hashlib
import os
import stat
from collections.abc import Callable, Generator
from contextlib import closing

from mgmt.archive.blocks import BLOCK, new_buffer
from mgmt.archive.member import Member, Type, decode
from mgmt.archive.source import Source
from mgmt.archive.tree import Entry, Skipped, Tree, mode_of
from mgmt.progress import Progress


def members_on_disk(tree: Tree, on_skip: Callable[[Skipped], None]) -> Generator[Member]:
    """Each member that `tree` would have, in the order of an archive, by stat alone: no file is opened.

    Every name of a file with several is a file, as are those in an archive once they are restored; offsets are 0. What
    cannot be archived or listed is passed to `on_skip`. Raises as `Tree.walk` does.
    """
    with closing(tree.walk(on_skip)) as walk:
        for entry in walk:
            yield _member(tree, entry, None)


def read_members_on_disk(tree: Tree, on_skip: Callable[[Skipped], None], progress: Progress) -> Generator[Member]:
    """As `members_on_disk`, but each file is read, once for all of its names, and has its sha256.

    `progress` advances by the bytes read. Raises as reading for an archive does: SourceChangedError for a file that
    changes meanwhile.
    """
    source = Source(tree)
    linked: dict[str, bytes] = {}
    skipped, buffer = 0, new_buffer()
    with closing(source.members()) as members:
        for found in members:
            for each in source.skipped[skipped:]:
                on_skip(each)
            skipped = len(source.skipped)
            sha256 = None
            if found.type == "f":
                hasher, left = hashlib.sha256(), found.entry.stat.st_size
                while left:
                    count = source.read_into(found, buffer[: min(left, BLOCK)])
                    hasher.update(buffer[:count])
                    left -= count
                    progress.advance(count)
                sha256 = hasher.digest()
                if found.entry.stat.st_nlink > 1:
                    linked[found.entry.name] = sha256
            elif found.type == "h":
                sha256 = linked[found.link or ""]
            yield _member(tree, found.entry, sha256)
    for each in source.skipped[skipped:]:
        on_skip(each)


def _member(tree: Tree, entry: Entry, sha256: bytes | None) -> Member:
    status = entry.stat
    kind: Type = "f" if stat.S_ISREG(status.st_mode) else "d" if stat.S_ISDIR(status.st_mode) else "l"
    link = None
    if kind == "l":
        try:
            link = decode(os.fsencode(os.readlink(entry.path, dir_fd=entry.folder)))
        except OSError as error:
            raise tree.changed(entry.name) from error
    size = status.st_size if kind == "f" else 0
    return Member(entry.name, kind, mode_of(entry, kind), status.st_mtime_ns, size, 0, 0, sha256, link)
