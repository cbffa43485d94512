"""Flushing the pages of a file, so that a write through a memory mapping is detected."""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import cast

_LIBC = ctypes.CDLL(None, use_errno=True)
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4
_TRIED = {0xEF53, 0x58465342, 0x9123683E}  # ext2 to ext4, XFS, Btrfs: not stacked on another file system
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EROFS, errno.EBADF}


def clean_pages(descriptor: int) -> None:
    """Write the dirty pages of a file to disk; it may be open for reading only.

    The kernel does not notice a write to a page of a mapping that is already dirty. A write to a clean page is noticed,
    and updates the times of the file. So if the pages are flushed after a first stat, a later stat with the same times
    proves that nothing wrote to the file in between. Raises OSError when the disk fails. File systems without a disk
    (tmpfs) cannot flush, and there such a write goes unnoticed.

    sync_file_range(2) costs about 1 us for a clean file, fsync(2) 65 us (ext4), since it also flushes the disk's cache.
    sync_file_range does nothing on stacked file systems, so it is used only on those where it was tested.
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
    """The magic number of the file system (statfs(2))."""
    buffer = (ctypes.c_ulong * 64)()
    return int(buffer[0]) if _LIBC.fstatfs(descriptor, buffer) == 0 else 0


def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux" or not hasattr(_LIBC, "sync_file_range"):
        return None
    function = _LIBC.sync_file_range
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return cast(Callable[[int, int, int, int], int], function)


_range = _sync_file_range()
