"""Writing members below a new folder, without touching anything else."""

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from mgmt.archive.blocks import Data
from mgmt.archive.dirfd import OPEN_FOLDER, Folders
from mgmt.archive.member import Member, encode
from mgmt.archive.move import ONE_SYNC, sync_filesystem
from mgmt.archive.tar_stream import Content
from mgmt.errors import IntegrityError, MgmtError
from mgmt.paths import sync_folder

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_MODES = 0o1777  # setuid and setgid are stripped
_IMPLIED_MODE = 0o755
_NO_PLACE = {errno.ENOTDIR, errno.ELOOP, errno.ENOENT}
_NO_SUPPORT = {errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EOVERFLOW}
_NO_LINK = _NO_SUPPORT | {errno.EMLINK}
NO_NAME = _NO_SUPPORT | {errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOENT}
"""exFAT answers EINVAL or, with FUSE, ENOENT to a name such as `12:30.txt`, EILSEQ to one that is not UTF-8."""
_NO_ROOM = {errno.E2BIG, errno.ENOSPC, errno.ERANGE}
_ROOM = 1 << 20

Parts = tuple[bytes, ...]


class Unsupported(NamedTuple):
    """A member that the file system of the destination cannot hold, or not with all of its attributes."""

    path: str
    reason: str


class _UnsupportedError(Exception):
    """The file system cannot hold what is restored; the message says why."""


class _Facts(NamedTuple):
    path: str
    mode: int
    mtime_ns: int | None
    xattrs: Mapping[bytes, bytes]


class Restoration:
    """Writes the tree `name` in the folder `parent`, where that must not exist yet.

    Folders are opened one by one by descriptor, and no link is followed; links are not created before `finish`, which
    then sets the modes and times of folders. `on_bytes` is called with the size of content as it is read.

    What the file system cannot hold raises MgmtError, which names the member; with `skip_unsupported`, it is left out,
    with what is in it, and listed in `unsupported`.
    """

    def __init__(
        self, parent: str, name: str, on_bytes: Callable[[int], None], *, skip_unsupported: bool = False
    ) -> None:
        self.unsupported: list[Unsupported] = []
        self._parent = parent
        self._top = Folders(parent)
        self._root = os.fsencode(name)
        self._on_bytes = on_bytes
        self._skip = skip_unsupported
        self._left_out: set[Parts] = set()
        self._folders: dict[Parts, _Facts] = {}
        self._links: dict[Parts, Member] = {}

    def put(self, parts: Parts, member: Member, content: Iterable[Data], linked: Parts | None) -> bytes | None:
        """Restore one member at `parts` below the root (which has no parts); return the sha256 of a file.

        `linked` is the place of the file that a hard link refers to. Raises IntegrityError for an impossible member: a
        second one of the same name, one below a file or a link, a hard link to something that was not restored.
        """
        place = (self._root, *parts)
        xattrs = _users(content.xattrs()) if isinstance(content, Content) else {}
        facts = _Facts(member.path, member.mode & _KEPT_MODES, member.mtime_ns, xattrs)
        try:
            if member.type == "f":
                return self._put_file(place, facts, content)
            try:
                self._put_other(place, facts, member, linked)
            except _UnsupportedError as error:
                self._leave_out(place, member.path, error)
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
            try:
                self._make_link(place, member)
            except _UnsupportedError as error:
                self._leave_out(place, member.path, error)
        for place in reversed(self._folders):
            folder = os.open(place[-1], OPEN_FOLDER, dir_fd=self._top.enter(place[:-1]))
            try:
                self._set(folder, self._folders[place])
                if not ONE_SYNC:
                    sync_folder(folder)
            finally:
                os.close(folder)
        if ONE_SYNC and self._folders:
            sync_filesystem(self._top.enter(()))

    def close(self) -> None:
        """Close the descriptors."""
        self._top.close()

    def _put_other(self, place: Parts, facts: _Facts, member: Member, linked: Parts | None) -> None:
        if member.type == "d":
            self._put_folder(place, facts)
        elif member.type == "l":
            self._put_link(place, member)
        else:
            self._put_hard_link(place, (self._root, *(linked or ())))

    def _put_folder(self, place: Parts, facts: _Facts) -> None:
        known = self._folders.get(place)
        if known is None or known.mtime_ns is not None:
            folder = self._enter_above(place)
            try:
                os.mkdir(place[-1], 0o700, dir_fd=folder)
            except OSError as error:
                raise _explained(error, place, folder) from error
        self._folders[place] = facts

    def _put_link(self, place: Parts, member: Member) -> None:
        folder = self._enter_above(place)
        if not member.link or "\0" in member.link or _exists(place[-1], folder):
            error = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            raise _explained(error, place, folder)
        self._links[place] = member

    def _make_link(self, place: Parts, member: Member) -> None:
        folder = self._top.enter(place[:-1])
        try:
            os.symlink(encode(member.link or ""), place[-1], dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_LINK:
                raise _UnsupportedError(f"its file system has no symbolic links ({error.strerror})") from error
            raise _explained(error, place, folder) from error
        try:
            os.utime(place[-1], ns=(member.mtime_ns, member.mtime_ns), dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_SUPPORT:
                raise
            self._lose("the time", member.path, error)

    def _put_hard_link(self, place: Parts, first: Parts) -> None:
        if first in self._links:
            self._put_link(place, self._links[first])
            return
        if self._is_left_out(first):
            raise _UnsupportedError("it is a hard link to what was left out")
        above_first = os.dup(self._top.enter(first[:-1]))
        try:
            if not stat.S_ISREG(os.lstat(first[-1], dir_fd=above_first).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            folder = self._enter_above(place)
            try:
                os.link(first[-1], place[-1], src_dir_fd=above_first, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NO_LINK:
                    raise _UnsupportedError(f"its file system has no hard links ({error.strerror})") from error
                raise _explained(error, place, folder) from error
        finally:
            os.close(above_first)

    def _put_file(self, place: Parts, facts: _Facts, content: Iterable[Data]) -> bytes:
        hasher = hashlib.sha256()
        pieces = self._hashed(content, hasher)
        try:
            self._write_file(place, facts, pieces)
        except _UnsupportedError as error:
            self._leave_out(place, facts.path, error)
            for _ in pieces:  # the digest of the archive includes it
                pass
        return hasher.digest()

    def _hashed(self, content: Iterable[Data], hasher: "hashlib._Hash") -> Iterator[Data]:
        for piece in content:
            hasher.update(piece)
            yield piece
            self._on_bytes(len(piece))

    def _write_file(self, place: Parts, facts: _Facts, pieces: Iterable[Data]) -> None:
        folder = self._enter_above(place)
        try:
            file = os.open(place[-1], _CREATE, 0o600, dir_fd=folder)
        except OSError as error:
            raise _explained(error, place, folder) from error
        try:
            for piece in pieces:
                left = memoryview(piece)
                while left:
                    left = left[os.write(file, left) :]
            self._set(file, facts)
            if not (ONE_SYNC and self._folders):
                os.fsync(file)
        except OSError as error:
            if error.errno == errno.EFBIG:
                os.unlink(place[-1], dir_fd=self._top.enter(place[:-1]))
                raise _UnsupportedError(f"it is too large for its file system ({error.strerror})") from error
            raise
        finally:
            os.close(file)

    def _leave_out(self, place: Parts, path: str, why: _UnsupportedError) -> None:
        """Skip a member that cannot be held. Raises MgmtError if it was not asked for, or if nothing would be left."""
        if not self._skip or len(place) == 1:
            raise self._cannot_hold(f"{path}: {why}", may_skip=len(place) > 1)
        self.unsupported.append(Unsupported(path, str(why)))
        self._left_out.add(place)
        self._folders.pop(place, None)

    def _lose(self, what: str, path: str, error: OSError) -> None:
        """Restore a member without some of its attributes. Raises MgmtError if that was not asked for."""
        if not self._skip:
            raise self._cannot_hold(f"{what} of {path}: {error.strerror}") from error
        self.unsupported.append(Unsupported(path, f"only {what} ({error.strerror})"))

    def _cannot_hold(self, what: str, *, may_skip: bool = True) -> MgmtError:
        elsewhere = "--to DIR on another file system"
        skipping = f"mgmt download --skip-unsupported ...\n# or: {elsewhere}, --member PATH for a part"
        return MgmtError(
            f"{self._parent} cannot hold {what}", next_step=skipping if may_skip else f"mgmt download {elsewhere}"
        )

    def _is_left_out(self, place: Parts) -> bool:
        return bool(self._left_out) and any(place[:length] in self._left_out for length in range(1, len(place) + 1))

    def _set(self, descriptor: int, facts: _Facts) -> None:
        """Set attributes, mode and time, as far as the file system has them."""
        for name, value in facts.xattrs.items():
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                if error.errno in _NO_ROOM and _has_room(descriptor):
                    self._lose("the extended attributes", facts.path, error)
                    break
                if error.errno != errno.ENOTSUP:
                    raise
        try:
            os.fchmod(descriptor, facts.mode)
        except OSError as error:
            if error.errno not in _NO_SUPPORT:
                raise
            self._lose("the mode", facts.path, error)
        try:
            if facts.mtime_ns is not None:
                os.utime(descriptor, ns=(facts.mtime_ns, facts.mtime_ns))
        except OSError as error:
            if error.errno not in _NO_SUPPORT:
                raise
            self._lose("the time", facts.path, error)

    def _enter_above(self, place: Parts) -> int:
        """The folder that holds `place`, created with its parents where the archive omits them."""
        if place in self._links:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        above = place[:-1]
        if self._is_left_out(above):
            raise _UnsupportedError("what holds it was left out")
        made = len(above)
        while made and above[:made] not in self._folders:
            made -= 1
        for implied in range(made + 1, len(above) + 1):
            path = os.fsdecode(b"/".join(above[1:implied]))
            self._put_folder(above[:implied], _Facts(path, _IMPLIED_MODE, None, {}))
        return self._top.enter(above)


def _has_room(descriptor: int) -> bool:
    """Whether the disk is not full: ext4 says so, too, of attributes that exceed one block."""
    room = os.fstatvfs(descriptor)
    return room.f_bavail * room.f_frsize > _ROOM


def _explained(error: OSError, place: Parts, folder: int) -> Exception:
    """`error` about the new entry `place` in the open `folder`, or that this file system cannot hold that name.

    The name of what holds everything is mgmt's own (see `partial_name`).
    """
    if len(place) == 1:
        return error
    if error.errno == errno.EEXIST:
        twin = _twin(place[-1], folder)
        return error if twin is None else _UnsupportedError(f"its file system takes the name for that of {twin}")
    if error.errno in NO_NAME:
        return _UnsupportedError(f"its file system does not accept the name ({error.strerror})")
    return error


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


def _users(xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The attributes that any user may set; the others belong to the system that the archive comes from."""
    return {name: value for name, value in xattrs.items() if name.startswith(b"user.")}


def _exists(name: bytes, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True
