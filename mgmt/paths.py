"""Paths are taken literally: only the kernel resolves them.

The shell expands `~`, and the kernel resolves `..`: behind a symbolic link, the parent is not the folder that the text
of the path suggests (path_resolution(7)).
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mgmt.errors import ConfigurationError, MgmtError, NotFoundError, RefusedError
from mgmt.umask import shared
from mgmt.words import operand, shell_word

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = (FileNotFoundError, NotADirectoryError)
_NOTHING_TO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_OCTAL = re.compile(rb"\\([0-7]{3})")
_TILDE = 'use "$HOME/..."; the shell expands ~ only at the beginning of an unquoted word'


@contextmanager
def held_parent(path: str) -> Iterator[tuple[str, int]]:
    """The canonical path of the target `path`, and a descriptor of its folder, open during the block.

    The descriptor stays valid whatever happens to the path of the folder: use it with the last part of the canonical
    path, the target's own name. The target need not exist, and may be a symbolic link; a trailing `.`, `..` or slash
    means the folder itself, under its real name. For a folder with search but no read permission, the descriptor can be
    neither read nor synced (O_PATH).

    Raises ConfigurationError for an invalid path, NotFoundError when the folder does not exist, MgmtError when it
    cannot be accessed.
    """
    _check(path)
    folder, name = os.path.split(path.rstrip("/"))
    if path.startswith("/") and not folder and not name:
        raise _file_system(path)
    if path.startswith("/") and not folder:
        folder = "/"
    if name in (".", ".."):
        with _opened(path, path) as target, _opened("..", path, at=target) as parent:
            found = path_of(target, path)
            if found == "/":
                raise _file_system(path)
            if not _is_in(parent, os.path.basename(found), target):
                raise _moved(path)
            yield found, parent
        return
    with _opened(folder or ".", path) as parent:
        if path.endswith("/") and _is_file(parent, name):
            raise NotFoundError(
                f"{path} is not a folder", next_step=f"leave out the slash: {operand(path.rstrip('/'))}"
            )
        yield os.path.join(path_of(parent, folder or "."), name), parent


@contextmanager
def held_folder(path: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder at the absolute `path`, which must not contain symbolic links.

    With `make`, missing folders are created, and their names synced to disk. No link is followed: raises RefusedError
    where a link has replaced a folder. Raises NotFoundError when the folder does not exist, MgmtError when it cannot be
    accessed.
    """
    folder, here = os.open("/", os.O_RDONLY | _FOLDER), ""
    try:
        for name in filter(None, path.split("/")):
            above, here = folder, f"{here}/{name}"
            try:
                folder = _made(name, above) if make else _open_folder(name, above, os.O_NOFOLLOW)
            except OSError as error:
                raise _not_held(here, path, error, _is_link(name, above)) from error
            finally:
                if folder != above:
                    os.close(above)
        yield folder
    finally:
        os.close(folder)


def sync_folder(folder: int) -> None:
    """Sync the entries of an open folder to disk.

    Does nothing where the file system cannot sync a folder (fsync(2): EINVAL), as FUSE and network file systems may
    answer. Raises OSError when the disk fails.
    """
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NOTHING_TO_SYNC:
            raise


def canonical(path: str) -> str:
    """The absolute path of a target: its folder without symbolic links, its own name unchanged.

    Raises as `held_parent` does.
    """
    with held_parent(path) as (found, _):
        return found


def real_folder(path: str) -> str:
    """The absolute path of an existing folder, without symbolic links. Raises as `held_parent` does."""
    _check(path)
    with _opened(path, path, what="folder") as folder:
        return path_of(folder, path)


def folder_to_make(path: str) -> str:
    """The absolute path of a folder that exists or can be created; its existing part is without symbolic links.

    Raises ConfigurationError when something else is there, when `..` follows a part that does not exist, and when a
    folder called `~` would be created here, since that is rarely intended.
    """
    _check(path)
    existing, missing = path, list[str]()
    while True:
        existing = existing.rstrip("/") or ("/" if path.startswith("/") else ".")
        try:
            folder = _open_folder(existing)
        except _ABSENT as error:
            if isinstance(error, FileNotFoundError) and os.path.isdir(existing):
                continue  # made meanwhile, as by another thread that uploads to it
            if os.path.lexists(existing):
                raise ConfigurationError(f"{existing} is not a folder", next_step="choose another folder") from error
        except OSError as error:
            raise _unreachable(path, error) from error
        else:
            try:
                return os.path.join(path_of(folder, existing), *reversed(missing))
            finally:
                os.close(folder)
        existing, name = os.path.split(existing)
        if name == "..":
            raise ConfigurationError(f"{path}: {existing} does not exist", next_step=f"mkdir -p {operand(existing)}")
        if name[:1] == "~" and existing == "" and path[:1] == "~":
            raise ConfigurationError(
                f"{path}: there is no folder {name} here", next_step=f"{_TILDE}, or mkdir {shell_word(f'./{name}')}"
            )
        if name != ".":
            missing.append(name)


def is_inside(path: str, folder: str) -> bool:
    """Whether `path`, which need not exist, is `folder` or below it, by name or by the identity of its parents.

    This detects symbolic links and other mounts of `folder` itself. It does not detect a bind mount of a subfolder of
    `folder` elsewhere, which has no common parent: that counts as outside.
    """
    real = os.path.realpath(folder)
    if os.path.commonpath([os.path.realpath(path), real]) == real:
        return True
    try:
        wanted = os.stat(folder)
    except OSError:
        return False
    return (wanted.st_dev, wanted.st_ino) in on_the_way(path)


def on_the_way(path: str) -> list[tuple[int, int]]:
    """Device and inode of `path` and of all folders above it that exist, the nearest first.

    With symbolic links in the path, this includes the folders above the links and those above their targets.
    """
    found = dict[tuple[int, int], None]()
    for each in (os.path.realpath(path), absolute(path)):
        while True:
            try:
                status = os.stat(each)
                found[status.st_dev, status.st_ino] = None
            except OSError:  # missing, or not accessible
                pass
            if each == (each := os.path.dirname(each)):
                break
    return list(found)


def mounted_in(path: str) -> list[str]:
    """The mount points at the canonical `path` or below it; empty where the system does not list them."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            points = [os.fsdecode(_OCTAL.sub(_byte, line.split(b" ")[4])) for line in file]
    except OSError:
        return []
    return sorted(point for point in points if os.path.commonpath([point, path]) == path)


def _byte(escaped: re.Match[bytes]) -> bytes:
    return bytes([int(escaped[1], 8)])


def longest_name(path: str) -> int:
    """The number of bytes that a name may have in the folder at `path`, or in the nearest one above it that exists."""
    while True:
        try:
            return os.pathconf(path, "PC_NAME_MAX")
        except _ABSENT:
            path = os.path.dirname(path)


def mount_of(folder: int) -> tuple[int, bytes]:
    """The file system of an open folder, and where available its mount: a file system may be mounted twice."""
    try:
        with open(f"/proc/self/fdinfo/{folder}", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:  # no /proc here
        lines = []
    return os.fstat(folder).st_dev, next((line for line in lines if line.startswith(b"mnt_id:")), b"")


def absolute(path: str) -> str:
    """`path` made absolute. Every `..` is kept for the kernel to resolve."""
    if ".." in path.split("/"):
        return os.path.join(os.getcwd(), path)
    return os.path.abspath(path)


def split_name(name: str) -> tuple[str, str]:
    """`name` without its suffix, and the suffix: where a number goes. That of a tar is double, as in `a.tar.gz`."""
    stem, suffix = os.path.splitext(name)
    if stem.endswith(".tar") and stem != ".tar":
        stem, suffix = stem.removesuffix(".tar"), f".tar{suffix}"
    return stem, suffix


def path_of(folder: int, typed: str) -> str:
    """The path, without symbolic links, of the open `folder`, which was opened as `typed`.

    Raises NotFoundError when it has none because it was removed or moved concurrently.
    """
    found = os.fstat(folder)
    try:
        path = os.readlink(f"/proc/self/fd/{folder}")
        if os.path.samestat(os.stat(path), found):
            return path
    except OSError:  # no /proc here
        pass
    try:
        path = os.path.realpath(typed)
        if os.path.samestat(os.stat(path), found):
            return path
    except OSError:
        pass
    raise _moved(typed)


def _check(path: str) -> None:
    if not path:
        raise ConfigurationError("an empty string is not a path", next_step="name a file or a folder")
    if "\0" in path:
        next_step = "use -0 with --files-from if its paths are separated by NUL"
        raise ConfigurationError(f"{path[:80]!r} is not a path: it contains a NUL character", next_step=next_step)


@contextmanager
def _opened(path: str, typed: str, *, at: int | None = None, what: str = "file or folder") -> Iterator[int]:
    """`_open_folder`, with errors that name the path as typed."""
    try:
        folder = _open_folder(path, at)
    except _ABSENT as error:
        hint = _TILDE if typed[0] == "~" else None
        raise NotFoundError(f"{typed}: no such {what}", next_step=hint) from error
    except OSError as error:
        raise _unreachable(typed, error) from error
    try:
        yield folder
    finally:
        os.close(folder)


def _open_folder(path: str, at: int | None = None, flags: int = 0) -> int:
    try:
        return os.open(path, os.O_RDONLY | _FOLDER | flags, dir_fd=at)
    except PermissionError:
        if not hasattr(os, "O_PATH"):
            raise
        return os.open(path, os.O_PATH | _FOLDER | flags, dir_fd=at)


def _made(name: str, at: int) -> int:
    """Open the folder `name`, creating it if it does not exist."""
    try:
        return _open_folder(name, at, os.O_NOFOLLOW)
    except FileNotFoundError:
        with suppress(FileExistsError), shared():  # created concurrently
            os.mkdir(name, dir_fd=at)
            sync_folder(at)
        return _open_folder(name, at, os.O_NOFOLLOW)


def _is_link(name: str, at: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _not_held(here: str, path: str, error: OSError, is_link: bool) -> MgmtError:
    if is_link:
        return RefusedError(
            f"{here} was a folder and is now a symbolic link, which is not followed",
            next_step=f"ls -ld {shell_word(here)}",
        )
    if isinstance(error, _ABSENT):
        return NotFoundError(f"{path}: {here} does not exist", next_step=f"ls -ld {shell_word(here)}")
    return _unreachable(path, error)


def _is_file(folder: int, name: str) -> bool:
    """Whether `name` is neither a folder nor a symbolic link."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:  # the caller reports it when it opens the target
        return False
    return not (stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _is_in(folder: int, name: str, target: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(target))
    except OSError:
        return False


def _file_system(path: str) -> ConfigurationError:
    return ConfigurationError(f"{path} is the root of the file system", next_step="mgmt upload --all /")


def _moved(path: str) -> NotFoundError:
    return NotFoundError(f"{path}: the folder was moved or removed", next_step="find out where it is now: ls -la")


def _unreachable(path: str, error: OSError) -> MgmtError:
    return MgmtError(f"{path} cannot be accessed: {error.strerror}", next_step="check the folders above it: ls -ld")
