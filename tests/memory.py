"""Keeps what tests write in memory, where that is possible: commands sync all they do, and disks are slow at it.

Tests of what only a disk does make a file system of their own, or look for one (`disk`).
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.guard import dismiss, watch

MEMORY = "/dev/shm"
ENOUGH = 8 << 30
"""Free bytes, several times as many as a run takes."""


@contextmanager
def folder() -> Iterator[str | None]:
    """A folder in memory, removed at the end even if this process is killed; None if there is no such thing here."""
    if not _is_usable():
        yield None
        return
    path = tempfile.mkdtemp(prefix="mgmt-tests-", dir=MEMORY)
    guard = watch(None, path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        dismiss(guard)


def _is_usable() -> bool:
    """Whether there is enough memory, where programs may run and files can have extended attributes (Linux 6.6)."""
    with suppress(OSError), tempfile.NamedTemporaryFile(dir=MEMORY) as file:
        os.setxattr(file.fileno(), "user.mgmt", b"1")
        found = os.statvfs(MEMORY)
        return found.f_bavail * found.f_frsize >= ENOUGH and not found.f_flag & os.ST_NOEXEC
    return False
