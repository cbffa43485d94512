"""Moving without ever replacing anything."""

import ctypes
import errno
import os
import stat

from mgmt.errors import ConflictError, MgmtError

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_LIBC = ctypes.CDLL(None, use_errno=True)

ONE_SYNC = hasattr(_LIBC, "syncfs")
"""Whether the system can put a whole filesystem on disk with one call, cheaper than one a file (syncfs(2))."""


def rename_noreplace(source: str, destination: str) -> None:
    """Rename a file, link or folder to a name that is free, in one step where the system can.

    Raises ConflictError when the name is taken, and MgmtError, with the system's reason, when it cannot be done.
    Where the system has no such step (renameat2(2)), a file gets its new name before it loses the old one.
    """
    try:
        if not _rename_in_one_step(source, destination):
            _rename_in_two_steps(source, destination)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise ConflictError(f"{destination} exists already, and nothing is ever overwritten") from error
        if error.errno == errno.EXDEV:
            raise MgmtError(f"{source} cannot be moved to {destination}: it is on another filesystem") from error
        raise MgmtError(f"{source} cannot be moved to {destination}: {error.strerror}") from error


def fsync_folder(path: str) -> None:
    """Have the names in a folder on disk before anything else happens."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(path: str) -> None:
    """Make the folder `path`, and those above it that are missing; the name of each is on disk on return.

    What is moved into a new folder, and is on disk there, is lost in a power cut when the folder's own name is not.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(os.path.abspath(path))
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
        fsync_folder(os.path.dirname(os.path.abspath(folder)))


def move(source: str, destination: str) -> None:
    """`rename_noreplace`, and on return the change is on disk, in both folders."""
    rename_noreplace(source, destination)
    folders = [os.path.dirname(os.path.abspath(destination)), os.path.dirname(os.path.abspath(source))]
    for folder in dict.fromkeys(folders):
        fsync_folder(folder)


def sync_filesystem(descriptor: int) -> None:
    """Have all that was written to the filesystem of `descriptor` on disk; only where `ONE_SYNC`."""
    if _LIBC.syncfs(descriptor) != 0:
        raise _last_error()


def _rename_in_one_step(source: str, destination: str) -> bool:
    if not hasattr(_LIBC, "renameat2"):
        return False
    old, new = os.fsencode(source), os.fsencode(destination)
    if _LIBC.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, ctypes.c_uint(_RENAME_NOREPLACE)) == 0:
        return True
    error = _last_error()
    if error.errno in _UNSUPPORTED:
        return False
    raise error


def _rename_in_two_steps(source: str, destination: str) -> None:
    if stat.S_ISDIR(os.lstat(source).st_mode):
        os.mkdir(destination, 0o700)
        try:
            os.rename(source, destination)
        except OSError:
            os.rmdir(destination)
            raise
    else:
        os.link(source, destination, follow_symlinks=False)
        os.unlink(source)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
