"""One entry on disk: the content of a file, and modes, times and attributes as far as the file system can hold them."""

import errno
import hashlib
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mgmt.archive.blocks import Data
from mgmt.errors import IntegrityError

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_PLACE = {errno.ENOTDIR, errno.ELOOP, errno.ENOENT}
NO_SUPPORT = {errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EOVERFLOW}
"""The answers of file systems that do not have what is asked for."""
NO_NAME = NO_SUPPORT | {errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOENT}
"""exFAT answers EINVAL or, with FUSE, ENOENT to a name such as `12:30.txt`, EILSEQ to one that is not UTF-8."""
_NO_ROOM = {errno.E2BIG, errno.ENOSPC, errno.ERANGE}
_ROOM = 1 << 20

Parts = tuple[bytes, ...]


class UnsupportedError(Exception):
    """The file system cannot hold what is restored; the message says why."""


class Facts(NamedTuple):
    """What is set on an entry. `path` is that of its member; without `mtime_ns`, the time is not set."""

    path: str
    mode: int
    mtime_ns: int | None
    xattrs: Mapping[bytes, bytes]


class Loss(NamedTuple):
    """What an entry was restored without, and the answer of the system."""

    what: str
    error: OSError


@dataclass(slots=True)
class File:
    """A file to be written as the last part of `place` in the open folder `folder`; what became of it after `write`.

    `refusal` is why the file system cannot hold it; if it is set before, the file is only hashed.
    """

    place: Parts
    facts: Facts
    folder: int
    sync: bool
    refusal: UnsupportedError | None = None
    sha256: bytes = b""
    losses: tuple[Loss, ...] = ()

    def write(self, pieces: Iterable[Data]) -> None:
        """Create the file with this content and the attributes.

        Raises IntegrityError for a second entry of that name; OSError when the disk fails.
        """
        hasher = hashlib.sha256()
        pieces = iter(pieces)
        if self.refusal is None:
            try:
                self._create(pieces, hasher)
            except UnsupportedError as error:
                self.refusal = error
            except OSError as error:
                raise blamed(error, self.facts.path) from error
        for piece in pieces:  # the digest of the archive includes it
            hasher.update(piece)
        self.sha256 = hasher.digest()

    def _create(self, pieces: Iterable[Data], hasher: "hashlib._Hash") -> None:
        name = self.place[-1]
        try:
            file = os.open(name, _CREATE, 0o600, dir_fd=self.folder)
        except OSError as error:
            raise explained(error, self.place, self.folder) from error
        try:
            for piece in pieces:
                hasher.update(piece)
                written = os.write(file, piece)
                while written < len(piece):
                    written += os.write(file, memoryview(piece)[written:])
            self.losses = set_facts(file, self.facts)
            if self.sync:
                os.fsync(file)
        except OSError as error:
            if error.errno == errno.EFBIG:
                os.unlink(name, dir_fd=self.folder)
                raise UnsupportedError(f"it is too large for its file system ({error.strerror})") from error
            raise
        finally:
            os.close(file)


def set_facts(descriptor: int, facts: Facts) -> tuple[Loss, ...]:
    """Set attributes, mode and time of an open entry; return what the file system does not have.

    Raises OSError when the disk is full or fails.
    """
    losses: tuple[Loss, ...] = ()
    for name, value in facts.xattrs.items():
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno in _NO_ROOM and _has_room(descriptor):
                losses += (Loss("the extended attributes", error),)
                break
            if error.errno != errno.ENOTSUP:
                raise
    try:
        os.fchmod(descriptor, facts.mode)
    except OSError as error:
        if error.errno not in NO_SUPPORT:
            raise
        losses += (Loss("the mode", error),)
    try:
        if facts.mtime_ns is not None:
            os.utime(descriptor, ns=(facts.mtime_ns, facts.mtime_ns))
    except OSError as error:
        if error.errno not in NO_SUPPORT:
            raise
        losses += (Loss("the time", error),)
    return losses


def blamed(error: OSError, path: str) -> Exception:
    """`error` about the new entry of the member `path`, or that the archive is its cause."""
    if isinstance(error, FileExistsError):
        return IntegrityError(f"the archive holds {path} more than once")
    if error.errno in _NO_PLACE:
        return IntegrityError(f"the archive holds {path} below something that is not a folder")
    return error


def explained(error: OSError, place: Parts, folder: int) -> Exception:
    """`error` about the new entry `place` in the open `folder`, or that this file system cannot hold that name.

    The name of what holds everything is mgmt's own (see `partial_name`).
    """
    if len(place) == 1:
        return error
    if error.errno == errno.EEXIST:
        twin = _twin(place[-1], folder)
        return error if twin is None else UnsupportedError(f"its file system takes the name for that of {twin}")
    if error.errno in NO_NAME:
        return UnsupportedError(f"its file system does not accept the name ({error.strerror})")
    return error


def _has_room(descriptor: int) -> bool:
    """Whether the disk is not full: ext4 says so, too, of attributes that exceed one block."""
    room = os.fstatvfs(descriptor)
    return room.f_bavail * room.f_frsize > _ROOM


def _twin(name: bytes, folder: int) -> str | None:
    """The entry that a file system which ignores case, or composes letters, takes for `name`; None if it is `name`."""
    names = [os.fsencode(each) for each in os.listdir(folder)]
    if name in names:
        return None
    # Not by inode: with FUSE, each name has its own.
    wanted = _folded(name)
    return next((os.fsdecode(each) for each in names if _folded(each) == wanted), "another entry")


def _folded(name: bytes) -> str:
    return unicodedata.normalize("NFKC", os.fsdecode(name).casefold())
