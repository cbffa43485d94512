"""Writing members below a new folder, without touching anything else."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from mgmt.archive.blocks import Data
from mgmt.archive.dirfd import OPEN_FOLDER, Folders
from mgmt.archive.file_threads import AT_HAND, FileThreads
from mgmt.archive.member import Member, encode
from mgmt.archive.move import ONE_SYNC, sync_filesystem
from mgmt.archive.restored_file import (
    NO_SUPPORT,
    Facts,
    File,
    Loss,
    Parts,
    UnsupportedError,
    blamed,
    explained,
    set_facts,
)
from mgmt.archive.tar_stream import Content
from mgmt.errors import IntegrityError, MgmtError
from mgmt.paths import sync_folder

_KEPT_MODES = 0o1777  # setuid and setgid are stripped
_IMPLIED_MODE = 0o755
_NO_LINK = NO_SUPPORT | {errno.EMLINK}


OnBytes = Callable[[int], None]
OnMember = Callable[[Member], None]


class Unsupported(NamedTuple):
    """A member that the file system of the destination cannot hold, or not with all of its attributes."""

    path: str
    reason: str


class Restoration:
    """Writes the tree `name` in the folder `parent`, where that must not exist yet.

    Folders are opened one by one by descriptor, and no link is followed. Files are written in threads, large ones in
    the calling thread; links are not created before `finish`, which then sets the modes and times of folders.
    `on_bytes` is called with the size of content as it is read; `on_member` with each member, in the order of the
    archive, once it is written and, if it is a file, with its sha256.

    What the file system cannot hold raises MgmtError, which names the member; with `skip_unsupported`, it is left out,
    with what is in it, and listed in `unsupported`.
    """

    def __init__(
        self, target: tuple[str, str], on_bytes: OnBytes, on_member: OnMember, *, skip_unsupported: bool = False
    ) -> None:
        self.unsupported: list[Unsupported] = []
        self._parent, name = target
        self._top = Folders(self._parent)
        self._root = os.fsencode(name)
        self._on_bytes = on_bytes
        self._on_member = on_member
        self._skip = skip_unsupported
        self._left_out: set[Parts] = set()
        self._folders: dict[Parts, Facts] = {}
        self._links: dict[Parts, Member] = {}
        self._threads = FileThreads(self._written)

    def put(self, parts: Parts, member: Member, content: Iterable[Data], linked: Parts | None) -> None:
        """Restore one member at `parts` below the root (which has no parts).

        `linked` is the place of the file that a hard link refers to. Raises IntegrityError for an impossible member: a
        second one of the same name, one below a file or a link, a hard link to something that was not restored. An
        error of a file may be raised by a later call.
        """
        place = (self._root, *parts)
        xattrs = _users(content) if isinstance(content, Content) else {}
        facts = Facts(member.path, member.mode & _KEPT_MODES, member.mtime_ns, xattrs)
        try:
            if member.type == "f":
                self._put_file(place, facts, member, content)
                return
            self._put_other(place, facts, member, linked)
        except UnsupportedError as error:
            self._leave_out(place, member.path, error)
        except OSError as error:
            raise blamed(error, member.path) from error
        self._threads.add(member)

    def settle(self) -> None:
        """Wait until every file is written and every member passed on."""
        self._threads.settle()

    def finish(self) -> None:
        """Create the links, set modes and times of folders, deepest first, and sync everything to disk.

        Everything must have settled.
        """
        for place, member in self._links.items():
            try:
                self._make_link(place, member)
            except UnsupportedError as error:
                self._leave_out(place, member.path, error)
            except OSError as error:
                raise blamed(error, member.path) from error
        for place in reversed(self._folders):
            self._finish_folder(place, self._folders[place])
        if ONE_SYNC and self._folders:
            sync_filesystem(self._top.enter(()))

    def close(self) -> None:
        """Let the threads end, and close the descriptors."""
        try:
            self._threads.close()
        finally:
            self._top.close()

    def _finish_folder(self, place: Parts, facts: Facts) -> None:
        try:
            folder = os.open(place[-1], OPEN_FOLDER, dir_fd=self._top.enter(place[:-1]))
        except OSError as error:
            raise blamed(error, facts.path) from error
        try:
            self._lose(facts.path, set_facts(folder, facts))
            if not ONE_SYNC:
                sync_folder(folder)
        finally:
            os.close(folder)

    def _put_other(self, place: Parts, facts: Facts, member: Member, linked: Parts | None) -> None:
        if member.type == "d":
            self._put_folder(place, facts)
        elif member.type == "l":
            self._put_link(place, member)
        else:
            self._put_hard_link(place, (self._root, *(linked or ())))

    def _put_folder(self, place: Parts, facts: Facts) -> None:
        known = self._folders.get(place)
        if known is None or known.mtime_ns is not None:
            folder = self._enter_above(place)
            try:
                os.mkdir(place[-1], 0o700, dir_fd=folder)
            except OSError as error:
                raise explained(error, place, folder) from error
        self._folders[place] = facts

    def _put_link(self, place: Parts, member: Member) -> None:
        self._enter_above(place)
        if not member.link or "\0" in member.link:
            raise IntegrityError(f"the archive holds {member.path}, a link to {member.link!r}, which is impossible")
        if place in self._folders:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._links[place] = member

    def _make_link(self, place: Parts, member: Member) -> None:
        folder = self._top.enter(place[:-1])
        try:
            os.symlink(encode(member.link or ""), place[-1], dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_LINK:
                raise UnsupportedError(f"its file system has no symbolic links ({error.strerror})") from error
            raise explained(error, place, folder) from error
        try:
            os.utime(place[-1], ns=(member.mtime_ns, member.mtime_ns), dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_SUPPORT:
                raise
            self._lose(member.path, [Loss("the time", error)])

    def _put_hard_link(self, place: Parts, first: Parts) -> None:
        if first in self._links:
            self._put_link(place, self._links[first])
            return
        self.settle()
        if self._is_left_out(first):
            raise UnsupportedError("it is a hard link to what was left out")
        above_first = os.dup(self._top.enter(first[:-1]))
        try:
            if not stat.S_ISREG(os.lstat(first[-1], dir_fd=above_first).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            folder = self._enter_above(place)
            try:
                os.link(first[-1], place[-1], src_dir_fd=above_first, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NO_LINK:
                    raise UnsupportedError(f"its file system has no hard links ({error.strerror})") from error
                raise explained(error, place, folder) from error
        finally:
            os.close(above_first)

    def _put_file(self, place: Parts, facts: Facts, member: Member, content: Iterable[Data]) -> None:
        sync = not (ONE_SYNC and self._folders)
        try:
            file = File(place, facts, self._enter_above(place), sync)
        except UnsupportedError as error:
            file = File(place, facts, -1, sync, refusal=error)
        if member.size <= AT_HAND:
            self._threads.write(file, member, list(content))
            self._on_bytes(member.size)
        else:
            file.write(self._counted(content))
            self._threads.add(member, file)

    def _counted(self, content: Iterable[Data]) -> Iterator[Data]:
        for piece in content:
            yield piece
            self._on_bytes(len(piece))

    def _written(self, member: Member, file: File | None) -> None:
        if file is not None:
            if file.refusal is not None:
                self._leave_out(file.place, member.path, file.refusal)
            self._lose(member.path, file.losses)
            member = member.with_sha256(file.sha256)
        self._on_member(member)

    def _leave_out(self, place: Parts, path: str, why: UnsupportedError) -> None:
        """Skip a member that cannot be held. Raises MgmtError if it was not asked for, or if nothing would be left."""
        if not self._skip or len(place) == 1:
            raise self._cannot_hold(f"{path}: {why}", may_skip=len(place) > 1)
        self.unsupported.append(Unsupported(path, str(why)))
        self._left_out.add(place)
        self._folders.pop(place, None)

    def _lose(self, path: str, losses: Iterable[Loss]) -> None:
        """Restore a member without some of its attributes. Raises MgmtError if that was not asked for."""
        for what, error in losses:
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

    def _enter_above(self, place: Parts) -> int:
        """The folder that holds `place`, created with its parents where the archive omits them."""
        if place in self._links:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        above = place[:-1]
        if self._is_left_out(above):
            raise UnsupportedError("what holds it was left out")
        made = len(above)
        while made and above[:made] not in self._folders:
            made -= 1
        for implied in range(made + 1, len(above) + 1):
            path = os.fsdecode(b"/".join(above[1:implied]))
            self._put_folder(above[:implied], Facts(path, _IMPLIED_MODE, None, {}))
        return self._top.enter(above)


def _users(content: Content) -> dict[bytes, bytes]:
    """The attributes that any user may set; the others belong to the system that the archive comes from."""
    xattrs = content.xattrs()
    return {name: value for name, value in xattrs.items() if name.startswith(b"user.")} if xattrs else xattrs
