"""Folders for temporary files that do not outlast the process for long, not even one that is killed."""

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
    """The path of a new, empty folder, private to the user, which is gone afterwards.

    What a killed process has left is removed first, so that there is never more than the last one's.
    """
    remove_abandoned_scratch()
    descriptor = None
    while descriptor is None:  # another process may have taken it for abandoned before it was locked
        folder = tempfile.mkdtemp(prefix=_PREFIX)
        descriptor = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(descriptor)


def remove_abandoned_scratch() -> None:
    """Remove the scratch folders of this user that no living process has locked."""
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
    """A descriptor that holds `folder` locked until it is closed; None when another has it, or it is gone."""
    with suppress(FileNotFoundError, BlockingIOError), ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            stack.pop_all()
            return descriptor
    return None
