"""Folders for temporary files. Those of a killed process are removed by the next one."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_PREFIX = "mgmt-scratch-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")


@contextmanager
def scratch_folder() -> Iterator[str]:
    """The path of a new, empty, private folder, removed at the end.

    What killed processes left is removed first, so that it never piles up.
    """
    remove_abandoned_scratch()
    descriptor = None
    while descriptor is None:  # another process may have removed it before it was locked
        folder = tempfile.mkdtemp(prefix=_PREFIX)
        descriptor = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(descriptor)


def remove_abandoned_scratch() -> None:
    """Remove the scratch folders of this user that no running process has locked."""
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if not _NAME.fullmatch(entry.name):
                continue
            with suppress(OSError):  # another user's, or gone meanwhile
                descriptor = _lock(entry.path) if entry.stat(follow_symlinks=False).st_uid == os.geteuid() else None
                if descriptor is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(descriptor)


def _lock(folder: str) -> int | None:
    """A descriptor that locks `folder` until it is closed; None when another process has it, or it is gone."""
    with suppress(FileNotFoundError, BlockingIOError), ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            stack.pop_all()
            return descriptor
    return None
