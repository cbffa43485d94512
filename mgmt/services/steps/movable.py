"""Whether an original can be moved to completed/ once it is proven, as far as that can be known before it is sent."""

import fcntl
import os
import shlex
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mgmt.errors import ConfigurationError, RefusedError
from mgmt.paths import folder_to_make, held_folder, is_inside, mount_of

MEND = "mgmt config set completed_dir DIRECTORY   (or: mgmt upload --keep ...)"

_GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16
"""FS_IOC_GETFLAGS of linux/fs.h."""
_FIXED = 0x10 | 0x20
"""FS_IMMUTABLE_FL and FS_APPEND_FL: nothing so marked is renamed, nor anything in a folder so marked (chattr(1))."""


def completed_dir(target: str, setting: str, held: int | None = None) -> str:
    """The folder that `target` is moved to once it is proven: beside it, unless the setting is absolute.

    `held` is the open folder of the target. Raises ConfigurationError when a move there would not be one rename, and
    RefusedError when the folder of the target has been replaced.
    """
    beside = os.path.dirname(target)
    folder = folder_to_make(os.path.join(beside, setting))
    if held is not None and not os.path.isabs(setting):
        with held_folder(beside) as found:
            if not os.path.samestat(os.fstat(found), os.fstat(held)):
                raise RefusedError(f"{beside} was replaced by another folder just now", next_step=f"ls -ld {beside}")
    if is_inside(folder, target):
        raise ConfigurationError(f"completed_dir {folder} is inside {target}", next_step=MEND)
    if is_inside(target, folder):
        raise ConfigurationError(f"{target} is already inside completed_dir {folder}", next_step=MEND)
    name = target if held is None else os.path.basename(target)
    if os.stat(_existing(folder)).st_dev != os.stat(name, dir_fd=held, follow_symlinks=False).st_dev:
        raise ConfigurationError(f"completed_dir {folder} is on another file system than {target}", next_step=MEND)
    return folder


def refuse_unmovable(target: str, completed: str, held: int | None = None) -> None:
    """Raise RefusedError for a target that could not be moved to the folder `completed`: it would be sent for nothing.

    `held` is the open folder of the target. What the system only reveals when it is asked to move is not known here.
    """
    with _opened(os.path.dirname(target), held) as parent:
        _refuse_fixed(target, parent, completed)
        _refuse_closed(target, parent, completed)
        _refuse_sticky(target, parent)
        with _opened(_existing(completed), None) as destination:
            mount = mount_of(parent)
            if mount_of(destination) != mount:
                raise RefusedError(f"completed_dir {completed} is on another mount than {target}", next_step=MEND)
        if _is_folder(name := os.path.basename(target), parent):
            with _opened(name, None, at=parent) as folder:
                if mount_of(folder) != mount:
                    raise RefusedError(f"{target} is a mount point, which cannot be moved", next_step=MEND)


def _refuse_fixed(target: str, parent: int, completed: str) -> None:
    own, beside = (target, os.path.basename(target)), (os.path.dirname(target), ".")
    for path, where in (own, beside, (_existing(completed), None)):
        if _is_fixed(where or path, None if where is None else parent):
            raise RefusedError(
                f"{target} cannot be moved when it is archived, as {path} is immutable or append-only",
                next_step=f"chattr -ia {shlex.quote(path)}   (or: mgmt upload --keep ...)",
            )


def _refuse_closed(target: str, parent: int, completed: str) -> None:
    """A folder that gets another parent must be writable itself, and so must both parents, which are also synced."""
    needed = [(os.path.dirname(target), "."), (_existing(completed), None)]
    if _is_folder(os.path.basename(target), parent):
        needed.append((target, os.path.basename(target)))
    for path, where in needed:
        at = None if where is None else parent
        effective = os.access in os.supports_effective_ids
        if not os.access(where or path, os.R_OK | os.W_OK | os.X_OK, dir_fd=at, effective_ids=effective):
            raise RefusedError(
                f"{target} cannot be moved when it is archived, as {path} may not be read and written",
                next_step=f"chmod u+rwx {shlex.quote(path)}   (or: mgmt upload --keep ...)",
            )


def _refuse_sticky(target: str, parent: int) -> None:
    above, own = os.fstat(parent), os.stat(os.path.basename(target), dir_fd=parent, follow_symlinks=False)
    if above.st_mode & stat.S_ISVTX and os.geteuid() not in (0, above.st_uid, own.st_uid):
        path = os.path.dirname(target)
        raise RefusedError(
            f"{target} cannot be moved when it is archived, as it is another user's and {path} is sticky",
            next_step=f"mgmt upload --keep {shlex.quote(target)}",
        )


def _is_fixed(path: str, at: int | None) -> bool:
    flags = bytearray(struct.calcsize("l"))
    with suppress(OSError):  # it cannot be opened, or its file system has no flags
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        finally:
            os.close(descriptor)
    return bool(struct.unpack_from("i", flags)[0] & _FIXED)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _existing(folder: str) -> str:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


@contextmanager
def _opened(path: str, held: int | None, *, at: int | None = None) -> Iterator[int]:
    """`held` if it is open, else the folder at `path`."""
    if held is not None:
        yield held
        return
    folder = os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    try:
        yield folder
    finally:
        os.close(folder)
