"""Compares trees independently of mgmt: it shares no code with it."""

import hashlib
import os
import stat
from pathlib import Path

Snapshot = dict[str, tuple[str, ...]]
"""From the path relative to the top of the tree to the kind of entry, then the target of a link, or mode and time, and
for files also the number of hard links and the sha256."""


def snapshot(top: Path) -> Snapshot:
    """Read every entry below the file or folder `top`, without following symlinks: names, modes, times, contents."""
    found = {".": _entry(top)}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = Path(folder, name)
            found[str(path.relative_to(top))] = _entry(path)
    return found


def differences(expected: Snapshot, actual: Snapshot) -> list[str]:
    """One line for each path that differs; an empty list means that the trees are identical."""
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
