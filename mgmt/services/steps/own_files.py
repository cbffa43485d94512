"""Files that mgmt has written, and may write again: metrics, pages, units, completion scripts.

Such a file is written aside and renamed. Any other file stays, and so does a symbolic link: in a folder that others may
write to, it could lead to any file of the user.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mgmt.archive import rename_noreplace
from mgmt.errors import ConfigurationError, ConflictError, RefusedError
from mgmt.paths import absolute, sync_folder
from mgmt.words import shell_word

FIRST = "# Written by mgmt;"
"""How a file that mgmt may replace begins."""

PARTIAL = ".mgmt-partial"
BEGINNING = 4096
"""So many bytes tell whether a file is an earlier one."""

_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Kind(NamedTuple):
    """A kind of file that mgmt replaces."""

    what: str
    """As in "... is not {what}"."""
    is_own: Callable[[bytes], bool]
    """Whether a file with this beginning is an earlier one."""
    mode: int = 0o600
    keeps_mode: bool = False
    """Whether the mode of an earlier file of the same user stays, without what makes a file executable."""


def replace_own(file: str, data: bytes, kind: Kind) -> str:
    """Write `data` to `file` and return its full path; `file` is the old one or the new one, never a part of it.

    What a killed process has left of an earlier attempt is removed. Raises ConflictError if `file` is anything else
    than an earlier file of this kind, OSError if it cannot be written.
    """
    if file.endswith("/"):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    folder_path, name = os.path.split(absolute(file))
    path = os.path.join(os.path.realpath(folder_path), name)
    with _opened(os.path.dirname(path)) as folder:
        earlier = _earlier(path, folder, kind)
        _sweep(name, folder)
        partial, descriptor = _new(name, folder)
        try:
            with open(descriptor, "wb") as out:
                os.fchmod(descriptor, _mode(earlier, kind))
                out.write(data)
                out.flush()
                os.fsync(descriptor)
                _publish(partial, path, folder, kind)  # still locked, so that nobody takes it for abandoned
        except BaseException:
            with suppress(OSError):
                os.unlink(partial, dir_fd=folder)
            raise
        sync_folder(folder)
    return path


def write_own(path: Path, text: str, first: str = FIRST, *, what: str) -> bool:
    """Write the whole of `text`, or nothing; False if the file is like that already. It is called `what` in messages.

    Raises RefusedError if there is a file that does not begin with `first`, ConfigurationError if it cannot be written.
    """
    try:
        data, beginning = text.encode(), first.encode()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if read_regular(str(path), len(data) + 1) == data:
                return False
        replace_own(str(path), data, Kind("a file of mgmt", lambda there: there.startswith(beginning)))
    except ConflictError as exc:
        raise RefusedError(
            f"{path} was not written by mgmt; left unchanged", next_step=f"mv {shell_word(str(path))} ..."
        ) from exc
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "a path in it is not UTF-8"
        raise ConfigurationError(f"the {what} {path} cannot be written: {reason}") from exc
    return True


def read_regular(path: str, most: int, folder: int | None = None) -> bytes | None:
    """The first `most` bytes of a regular file; None if something else is there, which is not opened.

    Raises OSError, FileNotFoundError among them.
    """
    if not stat.S_ISREG(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFELY, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # it was replaced just now
            return None
        raise
    with open(descriptor, "rb") as there:
        return there.read(most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _earlier(path: str, folder: int, kind: Kind) -> os.stat_result | None:
    """The state of the earlier file at `path`; None if nothing is there. Raises ConflictError for anything else."""
    name = os.path.basename(path)
    try:
        beginning = read_regular(name, BEGINNING, folder)
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if beginning is None or not kind.is_own(beginning):
        raise ConflictError(f"{path} exists, and is not {kind.what}", next_step="use another FILE, or move it away")
    return found


def _mode(earlier: os.stat_result | None, kind: Kind) -> int:
    if kind.keeps_mode and earlier is not None and earlier.st_uid == os.geteuid():
        return earlier.st_mode & 0o666
    return kind.mode


def _new(name: str, folder: int) -> tuple[str, int]:
    """A new file beside `name`, locked while it is open: its name, and its descriptor."""
    while True:
        partial = f"{_prefix(name)}{secrets.token_hex(6)}{PARTIAL}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600, dir_fd=folder)
        if _lock(descriptor) is not False and _is_at(partial, folder, descriptor):
            return partial, descriptor
        os.close(descriptor)  # another process took it for abandoned before it was locked


def _sweep(name: str, folder: int) -> None:
    """Remove what processes of this user that were killed have left beside `name`."""
    prefix = _prefix(name)
    for each in os.listdir(folder):
        if each.startswith(prefix) and each.endswith(PARTIAL):
            with suppress(OSError):
                _remove_abandoned(each, folder)


def _remove_abandoned(partial: str, folder: int) -> None:
    descriptor = os.open(partial, os.O_RDONLY | _SAFELY, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and _lock(descriptor):
            os.unlink(partial, dir_fd=folder)
    finally:
        os.close(descriptor)


def _prefix(name: str) -> str:
    # Not NAME.prom: the collector of Prometheus reads every file that is called so.
    return f".{name[:50]}-"


def _lock(descriptor: int) -> bool | None:
    """Whether the lock was taken; None where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(name: str, folder: int, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _publish(partial: str, path: str, folder: int, kind: Kind) -> None:
    if _earlier(path, folder, kind) is None:
        try:
            rename_noreplace(partial, path, source_folder=folder, destination_folder=folder)
            return
        except ConflictError:
            _earlier(path, folder, kind)  # another command may have been quicker
    os.replace(partial, os.path.basename(path), src_dir_fd=folder, dst_dir_fd=folder)
