"""What a tree holds, so that two of them can be compared: the tour's own eyes, which share no code with mgmt."""

import hashlib
import os
import stat
from pathlib import Path

Snapshot = dict[str, tuple[str, ...]]
"""Path relative to the tree's top, to what is there: its kind, then a link's target, or the mode and the time, and of
files how many hard links they have and the sha256."""


def snapshot(top: Path) -> Snapshot:
    """Read every entry below the file or folder `top`, symlinks not followed: names, modes, times, contents."""
    found = {".": _entry(top)}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = Path(folder, name)
            found[str(path.relative_to(top))] = _entry(path)
    return found


def differences(expected: Snapshot, actual: Snapshot) -> list[str]:
    """One line for each path that is not the same in both; none means the trees are equal, byte for byte."""
    lines = []
    for path in sorted(expected.keys() | actual.keys()):
        if path not in actual:
            lines.append(f"missing: {path}")
        elif path not in expected:
            lines.append(f"unexpected: {path}")
        elif expected[path] != actual[path]:
            lines.append(f"different: {path}: {expected[path]} became {actual[path]}")
    return lines


def _entry(path: Path) -> tuple[str, ...]:
    seen = path.lstat()
    mode = oct(stat.S_IMODE(seen.st_mode))
    if stat.S_ISLNK(seen.st_mode):
        return "link", os.readlink(path)
    if stat.S_ISDIR(seen.st_mode):
        return "folder", mode, str(seen.st_mtime_ns)
    with path.open("rb") as file:
        return "file", mode, str(seen.st_mtime_ns), str(seen.st_nlink), hashlib.file_digest(file, "sha256").hexdigest()
