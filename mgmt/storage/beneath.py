"""Access to files beneath a folder that no path can leave, with OSError translated to the errors of mgmt."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from mgmt.errors import ConflictError, NotFoundError, StoreError, StoreUnavailableError
from mgmt.paths import sync_folder
from mgmt.umask import shared
from mgmt.words import operand

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT}
_ABSENT = {errno.ENOENT, errno.ENOTDIR}
_GONE = {errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH}


@contextmanager
def open_root(path: str, *, create: bool) -> Iterator[int]:
    """The folder at `path`, as a descriptor; with `create`, it is created where its parent exists.

    Raises StoreUnavailableError when the parent does not exist either: it may be a disk that is not mounted.
    """
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise StoreUnavailableError(
            f"there is no folder {parent}",
            next_step=f"mkdir -p {operand(parent)}\n# if no disk has to be mounted there",
        )
    if create and not os.path.isdir(path):
        with open_root(parent, create=False) as above:
            os.close(_enter(above, os.path.basename(path), create=True))
    root = os.open(path, _FOLDER)
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def open_parent(root: int, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """The folder that holds `path`, as a descriptor, and the name in it. No symlink is followed."""
    *folders, name = path.split("/")
    folder = os.dup(root)
    try:
        for each in folders:
            inner = _enter(folder, each, create=create)
            os.close(folder)
            folder = inner
        yield folder, name
    finally:
        os.close(folder)


def write_new(folder: int, name: str, chunks: Iterable[bytes]) -> None:
    """Write `chunks` as the whole content of `name`, and sync it to disk."""
    descriptor = open_shared(folder, name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        position = 0
        for chunk in chunks:
            write_all(descriptor, chunk, position)
            position += len(chunk)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(folder)


def open_shared(folder: int, name: str, flags: int) -> int:
    """Open a file, but no link. If `flags` create it, whoever shares the store may access it as the umask says."""
    with shared():
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)


def make_read_only(folder: int, name: str) -> None:
    """Take away every permission to write to a file."""
    os.chmod(name, os.stat(name, dir_fd=folder).st_mode & 0o444, dir_fd=folder)


def write_all(descriptor: int, data: bytes | memoryview, position: int) -> None:
    """`os.pwrite`, repeated until everything is written."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        position += written
        view = view[written:]


def read_all(folder: int, name: str) -> bytes:
    """The content of a small file."""
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return file.read()


def sha256_of_file(folder: int, name: str) -> str:
    """The sha256, in hex, of a file as re-read from disk: its cached pages are dropped first, where supported."""
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(source: tuple[int, str], target: tuple[int, str]) -> None:
    """Link the file `source` as `target` (folder, name) on the same filesystem, replacing nothing.

    Raises FileExistsError when the name is taken. Without hard links (exFAT) the name is first claimed with an empty
    file; a crash at that point leaves the claim behind.
    """
    try:
        os.link(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0], follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # without hard links; if that is not the reason, the rename fails, too
        os.close(open_shared(target[0], target[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
        except OSError:
            remove(*target)
            raise
    sync_folder(target[0])


def remove(folder: int, name: str) -> None:
    """Remove a file, if it exists."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    sync_folder(folder)


def remove_empty_parents(root: int, path: str) -> None:
    """Remove the folders above `path` that are empty now."""
    while "/" in path:
        path = path.rpartition("/")[0]
        try:
            with open_parent(root, path) as (folder, name):
                os.rmdir(name, dir_fd=folder)
        except OSError:  # not empty, or not permitted: harmless
            return


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn an OSError about `where` into an error of mgmt."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _ABSENT:
            raise NotFoundError(f"{where} does not exist") from error
        if error.errno == errno.EEXIST:
            raise ConflictError(f"{where} already exists: {reason}") from error
        if error.errno in _FULL:
            raise StoreError(
                f"the disk is full: {where} was not stored", next_step="free some space, then run it again"
            ) from error
        if error.errno in _GONE:
            raise StoreUnavailableError(
                f"the disk is not available: {where}: {reason}", next_step="mount it again"
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise StoreError(
                f"the name is too long for this disk: {where}", next_step="choose another with --key"
            ) from error
        raise StoreError(f"{where}: {reason}") from error


def _enter(folder: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    except NotADirectoryError as error:  # a file, or a symlink
        if not create:
            raise
        raise FileExistsError(errno.EEXIST, f"{name} is not a folder") from error
    with suppress(FileExistsError), shared():  # another process created it
        os.mkdir(name, dir_fd=folder)
        sync_folder(folder)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
