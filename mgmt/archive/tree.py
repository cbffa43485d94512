"""What to archive: a walk over a file or folder, always in the same order."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mgmt.archive import limits
from mgmt.archive.dirfd import OPEN_FILE, OPEN_FOLDER
from mgmt.archive.header import Header
from mgmt.archive.member import Type, decode, encode
from mgmt.archive.owners import owner_of
from mgmt.archive.patterns import Patterns
from mgmt.archive.xattrs import read_xattrs
from mgmt.errors import ConfigurationError, MgmtError, NotFoundError, RefusedError, SourceChangedError

_REPLACED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_HELD = 32  # open folders above the current one; a tree may be deeper than the limit of descriptors


class Entry(NamedTuple):
    """An entry on disk: open it with `path` and `dir_fd=folder`; `name` is its path in the archive.

    The descriptor `folder` is valid until the next entry is requested.
    """

    folder: int | None
    path: bytes
    name: str
    stat: os.stat_result


class Skipped(NamedTuple):
    """Something that is not archived: its path on disk, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Tree:
    """The file or folder `root` on disk, called `name` in the archive, without what the globs exclude.

    See `Patterns` for the globs. With `include`, files and links are archived only when they, or a folder above them,
    match; folders are always archived. `exclude` takes precedence over `include`. The root is never excluded.

    With `folder`, a descriptor of the folder that holds the root, the root is opened by its name in that folder; its
    path appears in messages only. Below the root every folder is opened by its name in its parent, and no link is
    followed: whoever can write to one of these folders cannot redirect the walk.
    """

    root: str
    name: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    folder: int | None = None

    def __post_init__(self) -> None:
        if self.name in ("", ".", "..") or "/" in self.name or "\0" in self.name:
            raise ConfigurationError(f"cannot archive {self.root} as {self.name!r}: not a valid name")
        if self.folder is not None and os.path.basename(self.root) in ("", ".", ".."):
            raise ConfigurationError(f"{self.root} does not end with the name of a file or folder")

    def walk(self, on_skip: Callable[[Skipped], None]) -> Generator[Entry]:
        """Everything to archive, depth first, each folder before what it holds, siblings by the bytes of their names.

        Memory is bounded by the names of the folders above the entry. Raises NotFoundError without a root,
        RefusedError when it is a socket, a FIFO or a device, SourceChangedError when something vanishes concurrently.
        """
        root = self._root()
        if not stat.S_ISDIR(root.stat.st_mode):
            if reason := _special(root.stat.st_mode):
                raise RefusedError(f"{self.root} is {reason}, which cannot be archived")
            yield root
            return
        include, exclude = Patterns(self.include), Patterns(self.exclude)
        filtered = bool(include or exclude)
        try:
            stack = [_Folder(root, included=not include)]
        except OSError as error:
            if error.errno in _REPLACED:
                raise self.changed(self.name) from error
            raise MgmtError(f"{self.root} cannot be read: {error.strerror}") from error
        try:
            yield root
            while stack:
                folder = stack[-1]
                name = next(folder.names, None)
                if name is None:
                    stack.pop()
                    self._go_back(folder, stack)
                    continue
                inside = f"{folder.name}/{decode(name)}"
                try:
                    status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
                    mode = status.st_mode
                    is_folder = stat.S_ISDIR(mode)
                    included = True
                    if filtered:
                        relative = inside[len(self.name) + 1 :]
                        included = folder.included or include.match(relative, folder=is_folder)
                        if exclude.match(relative, folder=is_folder) or not (included or is_folder):
                            on_skip(Skipped(self.disk_path(inside), "excluded"))
                            continue
                    if not stat.S_ISREG(mode) and (reason := _special(mode)):
                        on_skip(Skipped(self.disk_path(inside), reason))
                        continue
                    entry = Entry(folder.descriptor, name, inside, status)
                    if is_folder:
                        stack.append(_Folder(entry, included=included))
                except OSError as error:
                    on_skip(self.unreadable(inside, error))
                    continue
                yield entry
                if len(stack) > _HELD:
                    stack[-1 - _HELD].close()
        finally:
            for folder in stack:
                folder.close()

    def _go_back(self, folder: "_Folder", stack: "list[_Folder]") -> None:
        """Leave the exhausted `folder` for its parent, the last of `stack`."""
        try:
            if stack and stack[-1].descriptor is None:
                stack[-1].open("..", folder.descriptor)
        except OSError as error:
            raise self.changed(stack[-1].name) from error
        finally:
            folder.close()

    def unreadable(self, name: str, error: OSError) -> Skipped:
        """The skipped member `name`, which cannot be read because of `error`.

        Raises SourceChangedError when it is no longer what was listed, MgmtError when the cause is elsewhere.
        """
        path = self.disk_path(name)
        if error.errno in _REPLACED:
            raise self.changed(name) from error
        if error.errno in _EXHAUSTED:
            raise MgmtError(f"{path} cannot be opened: {error.strerror}") from error
        return Skipped(path, f"unreadable: {error.strerror}")

    def changed(self, name: str) -> SourceChangedError:
        """The error for a member that changed concurrently."""
        return SourceChangedError(
            f"{self.disk_path(name)} changed while it was read", next_step="run it again when nothing writes to it"
        )

    def check(self, header: Header) -> int:
        """Refuse a member that could be archived but not read again; return the bytes of its extended records.

        Raises RefusedError, which names the member, the limit, and what can be done.
        """
        try:
            return header.check()
        except limits.OverLimitError as error:
            path = self.disk_path(header.path)
            raise RefusedError(f"{path} cannot be archived: {error.reason}", next_step=error.next_step) from error

    def disk_path(self, name: str) -> str:
        """The path on disk of the member called `name`, for messages."""
        return os.path.abspath(self.root) + os.fsdecode(encode(name[len(self.name) :]))

    def _root(self) -> Entry:
        path = os.path.abspath(self.root) if self.folder is None else os.path.basename(self.root)
        try:
            status = os.stat(path, dir_fd=self.folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"{self.root}: no such file or folder") from error
        except OSError as error:
            raise MgmtError(f"{self.root} cannot be read: {error.strerror}") from error
        return Entry(self.folder, os.fsencode(path), self.name, status)


class _Folder:
    """A folder that is being walked; `descriptor` is None while it is not open."""

    def __init__(self, entry: Entry, *, included: bool) -> None:
        self.name = entry.name
        self.included = included
        self.descriptor: int | None = None
        self._identity = entry.stat.st_dev, entry.stat.st_ino
        descriptor = self.open(entry.path, entry.folder)
        try:
            self.names = iter(sorted(map(os.fsencode, os.listdir(descriptor))))
        except OSError:
            self.close()
            raise

    def open(self, path: bytes | str, folder: int | None) -> int:
        """Open it at `path`, relative to `folder`. Raises OSError when something else is there."""
        descriptor = os.open(path, OPEN_FOLDER, dir_fd=folder)
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != self._identity:
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.descriptor = descriptor
        return descriptor

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def mode_of(entry: Entry, kind: Type) -> int:
    """The mode that `entry` has in an archive. That of a symbolic link means nothing, and differs between systems."""
    return 0o777 if kind == "l" else entry.stat.st_mode & 0o7777


def header_of(entry: Entry, kind: Type, link: str | None, *, owners: bool, xattrs: Mapping[bytes, bytes]) -> Header:
    """The header of `entry` as a member of type `kind`; with `owners`, it names the owner and group."""
    return Header(
        entry.name,
        kind,
        mode=mode_of(entry, kind),
        mtime_ns=entry.stat.st_mtime_ns,
        size=entry.stat.st_size if kind == "f" else 0,
        link=link or "",
        owner=owner_of(entry.stat) if owners else None,
        xattrs=xattrs,
    )


class Tally:
    """What a walk has found: counts, hard links, and the state that detects later changes."""

    def __init__(self, tree: Tree) -> None:
        self.files = self.folders = self.links = self.size = self.root_ctime_ns = 0
        self._skip_name = len(tree.name)
        self._state, self._facts = hashlib.sha256(), hashlib.sha256()
        self._first: dict[tuple[int, int], str] = {}

    def see(self, entry: Entry) -> None:
        """Add `entry` to the state, whether it can be read or not."""
        status = entry.stat
        path = encode(entry.name[self._skip_name :])
        if not path:
            self.root_ctime_ns = status.st_ctime_ns
        ctime_ns = status.st_ctime_ns if path else 0
        facts = b"%d %d %d %d\n" % (status.st_mode, status.st_size, status.st_mtime_ns, ctime_ns)
        self._state.update(b"%s\0%d %d %s" % (path, status.st_dev, status.st_ino, facts))
        self._facts.update(b"%s\0%s" % (path, facts))

    def type_of(self, entry: Entry) -> tuple[Type, str | None]:
        """The type of the member `entry`; for another name of a file that was counted, the first name too."""
        status = entry.stat
        if not stat.S_ISREG(status.st_mode):
            return ("d" if stat.S_ISDIR(status.st_mode) else "l"), None
        if status.st_nlink > 1 and (first := self._first.get((status.st_dev, status.st_ino))):
            return "h", first
        return "f", None

    def count(self, entry: Entry, kind: Type) -> None:
        """Count `entry`, which is archived."""
        if kind == "f":
            self.files += 1
            self.size += entry.stat.st_size
            if entry.stat.st_nlink > 1:
                self._first[entry.stat.st_dev, entry.stat.st_ino] = entry.name
        elif kind == "d":
            self.folders += 1
        else:
            self.links += 1

    def state(self) -> str:
        """What `same_state` compares: the sha256, in hex, of relative path, device, inode, mode, size, mtime and ctime
        of every entry, and a second one without device and inode.

        The root's own name and ctime are left out: a rename changes them.
        """
        return f"{self._state.hexdigest()} {self._facts.hexdigest()}"


def same_state(before: str | None, now: str, *, renamed: bool = False) -> bool:
    """Whether nothing changed between two states of a tree (`Survey.source_state`).

    When mgmt has `renamed` the tree in between, devices and inodes are not compared: mergerfs computes them from paths.
    A state that an earlier version of mgmt recorded has none without them.
    """
    old, new = (before or "").split(), now.split()
    return old[:1] == new[:1] or (renamed and len(old) > 1 and old[1] == new[1])


@dataclass(frozen=True)
class Survey:
    """The result of a walk without opening files; sizes in bytes.

    `size` is that of the regular files, `tar_size` an upper estimate of the tar (including extended attributes only if
    asked for), `links` counts symbolic and hard links. See `Tally.state` for `source_state`.
    """

    files: int
    folders: int
    links: int
    size: int
    tar_size: int
    skipped: tuple[Skipped, ...]
    source_state: str
    root_ctime_ns: int


def survey(tree: Tree, *, owners: bool = False, xattrs: bool = False) -> Survey:
    """Inspect a tree with stat alone. A file that cannot be opened is detected only when it is read.

    With `xattrs` the extended attributes are read too, which opens each file. Raises RefusedError for a time, a size,
    names, or (if asked for) owners or attributes beyond a limit of the format (see `limits`).
    """
    tally = Tally(tree)
    skipped: list[Skipped] = []
    tar_size = 20 * 512
    for entry in tree.walk(skipped.append):
        tally.see(entry)
        kind, link = tally.type_of(entry)
        if kind == "l" and len(entry.name) > limits.SHORT_NAMES:  # a target alone is within all limits
            link = _target(tree, entry)
        attributes = _xattrs(tree, entry) if xattrs and kind in "fd" else {}
        extended = 0
        if link or attributes or not limits.is_plain(entry.name, entry.stat.st_mtime_ns, entry.stat.st_size):
            extended = tree.check(header_of(entry, kind, link, owners=owners, xattrs=attributes))
        tally.count(entry, kind)
        tar_size += 2048 + 3 * len(entry.name) + extended
        if kind == "f":
            tar_size += entry.stat.st_size + 512
        elif kind == "l":
            tar_size += entry.stat.st_size
    if not limits.is_size(tar_size):
        raise RefusedError(f"{tree.root} cannot be archived: it has {tar_size} bytes", next_step="archive parts of it")
    return Survey(
        files=tally.files,
        folders=tally.folders,
        links=tally.links,
        size=tally.size,
        tar_size=tar_size,
        skipped=tuple(skipped),
        source_state=tally.state(),
        root_ctime_ns=tally.root_ctime_ns,
    )


def _target(tree: Tree, entry: Entry) -> str:
    try:
        return decode(os.fsencode(os.readlink(entry.path, dir_fd=entry.folder)))
    except OSError as error:
        raise tree.changed(entry.name) from error


def _xattrs(tree: Tree, entry: Entry) -> dict[bytes, bytes]:
    """The attributes of a file or folder; none when it cannot be opened, which the reading will report."""
    try:
        descriptor = os.open(entry.path, OPEN_FILE, dir_fd=entry.folder)
    except OSError as error:
        tree.unreadable(entry.name, error)
        return {}
    try:
        return read_xattrs(descriptor)
    except OSError as error:
        raise MgmtError(
            f"the extended attributes of {tree.disk_path(entry.name)} cannot be read: {error.strerror}"
        ) from error
    finally:
        os.close(descriptor)


def _special(mode: int) -> str | None:
    kind = stat.S_IFMT(mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        return None
    return {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
