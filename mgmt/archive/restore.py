"""Writing members below a new folder, without touching anything else."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from mgmt.archive.blocks import Data
from mgmt.archive.dirfd import OPEN_FOLDER, Folders
from mgmt.archive.member import Member, encode
from mgmt.archive.move import ONE_SYNC, sync_filesystem
from mgmt.archive.tar_stream import Content
from mgmt.errors import IntegrityError
from mgmt.paths import sync_folder

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_MODES = 0o1777  # setuid and setgid are stripped
_IMPLIED_MODE = 0o755
_NO_PLACE = {errno.ENOTDIR, errno.ELOOP, errno.ENOENT}

Parts = tuple[bytes, ...]


class _Facts(NamedTuple):
    mode: int
    mtime_ns: int | None
    xattrs: Mapping[bytes, bytes]


class Restoration:
    """Writes the tree `name` in the folder `parent`, where that must not exist yet.

    Folders are opened one by one by descriptor, and no link is followed; links are not created before `finish`, which
    then sets the modes and times of folders. `on_bytes` is called with the size of content as it is written.
    """

    def __init__(self, parent: str, name: str, on_bytes: Callable[[int], None]) -> None:
        self._top = Folders(parent)
        self._root = os.fsencode(name)
        self._on_bytes = on_bytes
        self._folders: dict[Parts, _Facts] = {}
        self._links: dict[Parts, Member] = {}

    def put(self, parts: Parts, member: Member, content: Iterable[Data], linked: Parts | None) -> bytes | None:
        """Restore one member at `parts` below the root (which has no parts); return the sha256 of a file.

        `linked` is the place of the file that a hard link refers to. Raises IntegrityError for an impossible member: a
        second one of the same name, one below a file or a link, a hard link to something that was not restored.
        """
        place = (self._root, *parts)
        xattrs = _users(content.xattrs()) if isinstance(content, Content) else {}
        try:
            if member.type == "d":
                self._put_folder(place, _Facts(member.mode & _KEPT_MODES, member.mtime_ns, xattrs))
            elif member.type == "l":
                self._put_link(place, member)
            elif linked is not None:
                self._put_hard_link(place, (self._root, *linked))
            else:
                return self._put_file(place, _Facts(member.mode & _KEPT_MODES, member.mtime_ns, xattrs), content)
        except FileExistsError as error:
            raise IntegrityError(f"the archive holds {member.path} more than once") from error
        except OSError as error:
            if error.errno in _NO_PLACE:
                raise IntegrityError(f"the archive holds {member.path} below something that is not a folder") from error
            raise
        return None

    def finish(self) -> None:
        """Create the links, set modes and times of folders, deepest first, and sync everything to disk."""
        for place, member in self._links.items():
            folder = self._top.enter(place[:-1])
            os.symlink(encode(member.link or ""), place[-1], dir_fd=folder)
            os.utime(place[-1], ns=(member.mtime_ns, member.mtime_ns), dir_fd=folder, follow_symlinks=False)
        for place in reversed(self._folders):
            folder = os.open(place[-1], OPEN_FOLDER, dir_fd=self._top.enter(place[:-1]))
            try:
                _set(folder, self._folders[place])
                if not ONE_SYNC:
                    sync_folder(folder)
            finally:
                os.close(folder)
        if ONE_SYNC and self._folders:
            sync_filesystem(self._top.enter(()))

    def close(self) -> None:
        """Close the descriptors."""
        self._top.close()

    def _put_folder(self, place: Parts, facts: _Facts) -> None:
        known = self._folders.get(place)
        if known is None or known.mtime_ns is not None:
            os.mkdir(place[-1], 0o700, dir_fd=self._enter_above(place))
        self._folders[place] = facts

    def _put_link(self, place: Parts, member: Member) -> None:
        folder = self._enter_above(place)
        if not member.link or "\0" in member.link or _exists(place[-1], folder):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._links[place] = member

    def _put_hard_link(self, place: Parts, first: Parts) -> None:
        if first in self._links:
            self._put_link(place, self._links[first])
            return
        above_first = os.dup(self._top.enter(first[:-1]))
        try:
            if not stat.S_ISREG(os.lstat(first[-1], dir_fd=above_first).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            folder = self._enter_above(place)
            os.link(first[-1], place[-1], src_dir_fd=above_first, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(above_first)

    def _put_file(self, place: Parts, facts: _Facts, content: Iterable[Data]) -> bytes:
        hasher = hashlib.sha256()
        file = os.open(place[-1], _CREATE, 0o600, dir_fd=self._enter_above(place))
        try:
            for piece in content:
                hasher.update(piece)
                left = memoryview(piece)
                while left:
                    left = left[os.write(file, left) :]
                self._on_bytes(len(piece))
            _set(file, facts)
            if not (ONE_SYNC and self._folders):
                os.fsync(file)
        finally:
            os.close(file)
        return hasher.digest()

    def _enter_above(self, place: Parts) -> int:
        """The folder that holds `place`, created with its parents where the archive omits them."""
        if place in self._links:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        above = place[:-1]
        made = len(above)
        while made and above[:made] not in self._folders:
            made -= 1
        for implied in range(made + 1, len(above) + 1):
            self._put_folder(above[:implied], _Facts(_IMPLIED_MODE, None, {}))
        return self._top.enter(above)


def _set(descriptor: int, facts: _Facts) -> None:
    for name, value in facts.xattrs.items():
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
    os.fchmod(descriptor, facts.mode)
    if facts.mtime_ns is not None:
        os.utime(descriptor, ns=(facts.mtime_ns, facts.mtime_ns))


def _users(xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The attributes that any user may set; the others belong to the system that the archive comes from."""
    return {name: value for name, value in xattrs.items() if name.startswith(b"user.")}


def _exists(name: bytes, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True
