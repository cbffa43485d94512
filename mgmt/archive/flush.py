"""Cleaning the pages of a file, so that whoever has it mapped into memory cannot write unnoticed."""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import cast

_LIBC = ctypes.CDLL(None, use_errno=True)
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4
_TRIED = {0xEF53, 0x58465342, 0x9123683E}  # ext2 to ext4, XFS, Btrfs: pages and mapping are the file's own there
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EROFS, errno.EBADF}


def clean_pages(descriptor: int) -> None:
    """Have what was written to a file, which may be open for reading only, out of memory.

    The kernel lets a process write to a page of its mapping that is dirty already, and takes no note of it. Writing to
    a clean one is noticed, and moves the times of the file. So when this is done after a first look at a file, a look
    that finds the same times later proves that it was not written in between, in whatever way. Raises OSError when the
    disk fails. Where a file system keeps nothing on a disk (tmpfs), it cannot help.

    sync_file_range(2) costs about 1 us for a file that is clean, and fsync(2) 65 us (ext4), since it also has the disk
    empty its cache. It does nothing on file systems that stack on others, so only those are trusted that were tried.
    """
    if _range is not None and _type(descriptor) in _TRIED:
        if _range(descriptor, 0, 0, _WAIT_BEFORE | _WRITE | _WAIT_AFTER) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _type(descriptor: int) -> int:
    """The magic number of a file system, statfs(2)'s first field."""
    buffer = (ctypes.c_ulong * 64)()
    return int(buffer[0]) if _LIBC.fstatfs(descriptor, buffer) == 0 else 0


def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux" or not hasattr(_LIBC, "sync_file_range"):
        return None
    function = _LIBC.sync_file_range
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return cast(Callable[[int, int, int, int], int], function)


_range = _sync_file_range()
