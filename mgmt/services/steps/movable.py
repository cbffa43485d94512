"""Whether an original can be moved to completed/, or a copy removed, as far as that can be known before."""

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mgmt.errors import ConfigurationError, RefusedError
from mgmt.paths import folder_to_make, held_folder, is_inside, mount_of
from mgmt.words import shell_word

KEEP = "(or: mgmt upload --keep ...)"
MEND = "mgmt config set completed_dir DIRECTORY\n# or: mgmt upload --keep ..."

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
                raise RefusedError(
                    f"{beside} was replaced by another folder just now", next_step=f"ls -ld {shell_word(beside)}"
                )
    if is_inside(folder, target):
        raise ConfigurationError(f"completed_dir {folder} is inside {target}", next_step=MEND)
    if is_inside(target, folder):
        raise ConfigurationError(f"{target} is already inside completed_dir {folder}", next_step=MEND)
    name = target if held is None else os.path.basename(target)
    if os.stat(_existing(folder)).st_dev != os.stat(name, dir_fd=held, follow_symlinks=False).st_dev:
        raise ConfigurationError(f"completed_dir {folder} is on another file system than {target}", next_step=MEND)
    return folder


def refuse_unmovable(
    target: str, folder: str, held: int | None = None, *, what: str = "moved when it is archived", instead: str = KEEP
) -> None:
    """Raise RefusedError for a target that could not be moved to `folder`: it would be sent or compared for nothing.

    `held` is the open folder of the target; `what` and `instead` are for the message. What the system only reveals when
    it is asked to move is not known here.
    """
    name, above, existing = os.path.basename(target), os.path.dirname(target), _existing(folder)
    with _opened(above, held) as parent, _opened(existing, None) as destination:
        is_folder = stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        # A folder that gets another parent must be writable itself, and so must both parents, which are also synced.
        places = [(above, ".", parent), (existing, ".", destination)]
        if is_folder and folder != above:
            places.append((target, name, parent))
        refusal = f"{target} cannot be {what}, as"
        for path, at, held_by in [*places, (target, name, parent)]:
            if _is_fixed(at, held_by):
                mend = f"chattr -ia {shell_word(path)}   {instead}"
                raise RefusedError(f"{refusal} {path} is immutable or append-only", next_step=mend.strip())
        for path, at, held_by in places:
            if not _may_change(at, held_by):
                mend = f"chmod u+rwx {shell_word(path)}   {instead}"
                raise RefusedError(f"{refusal} {path} may not be read and written", next_step=mend.strip())
        if _is_anothers(name, parent):
            raise RefusedError(
                f"{refusal} it is another user's, and {above} is sticky", next_step=f"ls -ld {shell_word(above)}"
            )
        mounts = [mount_of(parent), mount_of(destination)]
        if is_folder:
            with _opened(name, None, at=parent) as opened:
                mounts.append(mount_of(opened))
        if len(set(mounts)) > 1:
            raise RefusedError(f"{refusal} {folder} is on another mount, or it is itself a mount point", next_step=MEND)


def _may_change(path: str, at: int) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.R_OK | os.W_OK | os.X_OK, dir_fd=at, effective_ids=effective)


def _is_anothers(name: str, parent: int) -> bool:
    """Whether only another user may rename what is in this sticky folder (rename(2))."""
    above, own = os.fstat(parent), os.stat(name, dir_fd=parent, follow_symlinks=False)
    return bool(above.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, above.st_uid, own.st_uid)


def _is_fixed(path: str, at: int) -> bool:
    flags = bytearray(struct.calcsize("l"))
    with suppress(OSError):  # it cannot be opened, or its file system has no flags
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        finally:
            os.close(descriptor)
    return bool(struct.unpack_from("i", flags)[0] & _FIXED)


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
