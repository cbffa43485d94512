"""Moving files and folders without ever replacing anything."""

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack

from mgmt.errors import ConflictError, MgmtError
from mgmt.paths import sync_folder
from mgmt.words import operand

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_LIBC = ctypes.CDLL(None, use_errno=True)

ONE_SYNC = hasattr(_LIBC, "syncfs")
"""Whether one call can sync a whole filesystem (syncfs(2)), which is cheaper than one per file."""


def partial_name(token: str) -> str:
    """The temporary name of what the operation with this token writes, until it is complete."""
    return f".mgmt-{token}.partial"


def rename_noreplace(
    source: str, destination: str, *, source_folder: int | None = None, destination_folder: int | None = None
) -> None:
    """Rename a file, link or folder to a free name, atomically where the system supports it (renameat2(2)).

    With a descriptor of the folder that holds it, only the last part of `source` or `destination` is used, in that
    folder; the rest appears in messages only.

    Raises ConflictError when the name is taken, and MgmtError, with the system's reason, when the rename fails.
    Without renameat2, a file gets its new name before it loses the old one; without hard links as well (exFAT, FUSE),
    the name is first claimed with an empty file.
    """
    old = source if source_folder is None else os.path.basename(source)
    new = destination if destination_folder is None else os.path.basename(destination)
    try:
        if not _rename_in_one_step(old, new, source_folder, destination_folder):
            _rename_in_two_steps(old, new, source_folder, destination_folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise ConflictError(f"{destination} already exists; mgmt overwrites nothing") from error
        if error.errno == errno.EXDEV:
            raise MgmtError(f"{source} cannot be moved to {destination}: it is on another filesystem") from error
        raise MgmtError(f"{source} cannot be moved to {destination}: {error.strerror}") from error


def fsync_folder(folder: str | int) -> None:
    """Sync the entries of a folder, given by path or open descriptor, to disk."""
    if isinstance(folder, int):
        sync_folder(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_folder(descriptor)
    finally:
        os.close(descriptor)


def make_folders(path: str) -> None:
    """Make the folder `path` and its missing parents; on return each name is on disk.

    If the name of a new folder is not on disk, a power cut loses what was moved into it, even if that was synced.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(os.path.abspath(path))
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
        fsync_folder(os.path.dirname(os.path.abspath(folder)))


def move(
    source: str, destination: str, *, source_folder: int | None = None, destination_folder: int | None = None
) -> None:
    """`rename_noreplace`; on return the change is on disk, in both folders.

    Raises MgmtError, before anything is moved, when one of the folders cannot be read and so not be synced; after the
    move, when the disk fails to sync it.
    """
    with ExitStack() as stack:
        folders = [
            _syncable(os.path.dirname(os.path.abspath(path)), folder, stack)
            for path, folder in ((destination, destination_folder), (source, source_folder))
        ]
        rename_noreplace(source, destination, source_folder=source_folder, destination_folder=destination_folder)
        try:
            _sync_each(folders)
        except OSError as error:
            raise MgmtError(f"{destination} has its name, but that may not be on disk: {error.strerror}") from error


def _sync_each(folders: Iterable[int]) -> None:
    for folder in dict.fromkeys(folders):
        sync_folder(folder)


def _syncable(path: str, folder: int | None, stack: ExitStack) -> int:
    """A descriptor of the folder at `path`, or the open one, suitable for fsync."""
    try:
        if folder is None:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folder)
        elif fcntl.fcntl(folder, fcntl.F_GETFL) & getattr(os, "O_PATH", 0):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise MgmtError(
            f"{path} cannot be opened, which a move to or from it requires: {error.strerror}",
            next_step=f"ls -ld {operand(path)}\n# it must be readable",
        ) from error
    return folder


def sync_filesystem(descriptor: int) -> None:
    """Sync the whole filesystem of `descriptor`; only where `ONE_SYNC`."""
    if _LIBC.syncfs(descriptor) != 0:
        raise _last_error()


def _rename_in_one_step(
    source: str, destination: str, source_folder: int | None, destination_folder: int | None
) -> bool:
    if not hasattr(_LIBC, "renameat2"):
        return False
    old, new = os.fsencode(source), os.fsencode(destination)
    from_, to = (_AT_FDCWD if folder is None else folder for folder in (source_folder, destination_folder))
    if _LIBC.renameat2(from_, old, to, new, ctypes.c_uint(_RENAME_NOREPLACE)) == 0:
        return True
    error = _last_error()
    if error.errno in _UNSUPPORTED:
        return False
    raise error


def _rename_in_two_steps(
    source: str, destination: str, source_folder: int | None = None, destination_folder: int | None = None
) -> None:
    def rename() -> None:
        os.rename(source, destination, src_dir_fd=source_folder, dst_dir_fd=destination_folder)

    if stat.S_ISDIR(os.stat(source, dir_fd=source_folder, follow_symlinks=False).st_mode):
        os.mkdir(destination, 0o700, dir_fd=destination_folder)
        try:
            rename()
        except OSError as error:
            os.rmdir(destination, dir_fd=destination_folder)  # fails if somebody else has used it
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            rename()  # a file system that renames onto nothing that exists
        return
    try:
        os.link(source, destination, src_dir_fd=source_folder, dst_dir_fd=destination_folder, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # without hard links; if that is not the reason, the rename fails, too
        _claim(destination, destination_folder)
        try:
            rename()
        except OSError:
            _unclaim(destination, destination_folder)
            raise
        return
    try:
        os.unlink(source, dir_fd=source_folder)
    except OSError:
        os.unlink(destination, dir_fd=destination_folder)
        raise


def _claim(name: str, folder: int | None) -> None:
    """Take a name with an empty file, which the rename replaces; a crash in between leaves it behind."""
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))


def _unclaim(name: str, folder: int | None) -> None:
    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_size == 0:
        os.unlink(name, dir_fd=folder)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
