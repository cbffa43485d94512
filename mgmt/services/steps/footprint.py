"""What an upload of one target takes up: which targets may be uploaded at the same time."""

import os
import re
import stat
import unicodedata
from dataclasses import dataclass

from mgmt.choices import OnConflict
from mgmt.paths import canonical
from mgmt.services.steps.plan import UploadOptions, key_of

SMALL = 4 << 20
"""Bytes of a target that may be uploaded with others: it is one request. The parts of a larger one are parallel."""

FEW = 256
"""Entries of a folder that may be uploaded with others."""

_RENAMED = re.compile(r"(?P<stem>.+)-(?:[2-9]|[1-9][0-9]+)\.tar\.gz", re.DOTALL)
"""A key that `--on-conflict rename` may choose instead of STEM.tar.gz."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """A small target: where it is, its bytes, and which keys it may take."""

    path: str
    size: int
    key: str
    """As a store compares it that knows no case."""
    unless_taken: str | None = None
    """The key of another target that may be given `key` if its own is taken."""

    def meets(self, other: "Footprint") -> bool:
        """Whether the order of the two decides how they end: one is inside the other, or both may want one key."""
        inner, outer = sorted((self.path, other.path), key=len, reverse=True)
        return (
            inner == outer
            or inner.startswith(os.path.join(outer, ""))
            or self.key in (other.key, other.unless_taken)
            or other.key == self.unless_taken
        )


def footprint(target: str, options: UploadOptions) -> Footprint | None:
    """What an upload of `target` takes up; None if nothing else may be uploaded at the same time.

    That is so for a large target, and for a file with several names: when one of them moves, the others look changed.
    It is also so where something is written that another target may hold: completed folders elsewhere, kept archives.
    Raises MgmtError and OSError when it cannot be looked at.
    """
    path = canonical(target)
    completed = options.completed_dir
    if options.keep_archive is not None or os.path.basename(completed) != completed:
        return None
    if _folded(os.path.basename(path)) == _folded(completed):  # where the targets beside it are moved
        return None
    size = _size(path)
    if size is None:
        return None
    key = _folded(key_of(path, options))
    renamed = _RENAMED.fullmatch(key) if options.on_conflict == OnConflict.RENAME else None
    return Footprint(path, size, key, f"{renamed['stem']}.tar.gz" if renamed else None)


def _size(path: str) -> int | None:
    """The bytes at `path`; None if nothing else may be uploaded at the same time."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:  # it may be archived already
        return 0
    if not stat.S_ISDIR(found.st_mode):
        return found.st_size if found.st_nlink == 1 and found.st_size <= SMALL else None
    size, entries, folders = 0, 0, [path]
    while folders:
        with os.scandir(folders.pop()) as inside:
            for entry in inside:
                entries += 1
                size += entry.stat(follow_symlinks=False).st_size
                if size > SMALL or entries > FEW:
                    return None
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return size


def _folded(key: str) -> str:
    return unicodedata.normalize("NFC", key).casefold()
