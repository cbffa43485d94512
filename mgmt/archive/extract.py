"""Restoring members to disk: completely and only inside the destination, or not at all."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mgmt.archive.blocks import Data
from mgmt.archive.dirfd import remove_tree
from mgmt.archive.index_lines import IndexEnd
from mgmt.archive.member import Digest, Member, decode, encode
from mgmt.archive.move import fsync_folder, partial_name, rename_noreplace
from mgmt.archive.restore import Restoration, Unsupported
from mgmt.archive.restored_file import NO_NAME, Parts
from mgmt.errors import ConflictError, IntegrityError, MgmtError, NotFoundError
from mgmt.progress import Progress
from mgmt.signals import finish_first


@dataclass(frozen=True)
class Limits:
    """The maximum number of members and bytes of content of an archive. None means no limit."""

    members: int | None = None
    size: int | None = None

    @classmethod
    def of(cls, end: IndexEnd) -> "Limits":
        """No more than the index states."""
        return cls(end.members, end.tar_size)


@dataclass(frozen=True)
class Extracted:
    """What was restored as `path`; `size` in bytes of content, `file_sha256` (hex) for a single file."""

    path: str
    digest: str
    file_sha256: str | None
    members: int
    size: int
    unsupported: tuple[Unsupported, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What to restore: the member `member` with everything below it, or the whole archive, as `name` (None: its own).

    `member` may omit the archive's own folder. `digest` is the one it must have (None: not known), `limits` the most it
    may hold. With `skip_unsupported`, what the file system of the destination cannot hold is left out. `complete` is
    called with the temporary path of what was restored and compared, and with the name that it gets afterwards.
    """

    name: str | None = None
    member: str | None = None
    digest: str | None = None
    limits: Limits = Limits()
    skip_unsupported: bool = False
    complete: Callable[[str, str], None] | None = None


def extract(
    members: Iterable[tuple[Member, Iterable[Data]]],
    destination: str,
    wanted: Wanted = Wanted(),
    *,
    token: str,
    progress: Progress,
) -> Extracted:
    """Restore what is wanted of an archive in the folder `destination`.

    Everything is written under a temporary name in `destination` (see `partial_name`), hashed, compared with the
    wanted digest, and on disk before it gets its name. Modes (without setuid and setgid), times to the nanosecond,
    links and the user's extended attributes are restored. `progress` advances by bytes of content.

    Raises ConflictError when the name is taken; IntegrityError when the archive is not what is expected, exceeds the
    limits, or would write anywhere else; NotFoundError without the member; MgmtError when the disk is full, rejects a
    write, or cannot hold a member. In each case nothing is left behind.
    """
    partial = partial_name(token)
    temporary = os.path.join(destination, partial)
    if os.path.lexists(temporary):
        raise ConflictError(f"{temporary} already exists: it is left over from an interrupted run")
    try:
        extraction = _Extraction(destination, partial, wanted, progress)
        try:
            for each, content in members:
                extraction.take(each, content)
            extracted = extraction.finish()
            if wanted.complete is not None:
                wanted.complete(temporary, os.path.basename(extracted.path))
            finish_first()
            give_name(temporary, extracted.path)
            fsync_folder(destination)
            return extracted
        finally:
            try:
                extraction.close()
            finally:
                remove_partial(destination, token)
    except OSError as error:
        raise MgmtError(f"{destination} cannot be written to: {error.strerror}") from error


def give_name(temporary: str, path: str) -> None:
    """`rename_noreplace`. Raises MgmtError, which says what to do, when the file system does not accept the name."""
    try:
        rename_noreplace(temporary, path)
    except MgmtError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in NO_NAME:
            raise _no_such_name(path, cause) from error
        raise


def _refuse_name(path: str) -> None:
    """Raise ConflictError when the name is taken; MgmtError where the system can tell already that it is impossible."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno in NO_NAME:
            raise _no_such_name(path, error) from error
        raise
    raise ConflictError(f"{path} already exists; mgmt overwrites nothing")


def _no_such_name(path: str, error: OSError) -> MgmtError:
    folder, name = os.path.split(path)
    return MgmtError(
        f"{folder} cannot hold {name}: its file system does not accept the name ({error.strerror})",
        next_step="mgmt download --to DIR on another file system",
    )


def remove_partial(destination: str, token: str) -> None:
    """Remove what an interrupted `extract` with this token left in `destination`, if anything."""
    if os.path.lexists(os.path.join(destination, partial_name(token))):
        remove_tree(destination, partial_name(token))


class _Extraction:
    """Decides where each member belongs, and whether all of them are what was expected."""

    def __init__(self, destination: str, partial: str, wanted: Wanted, progress: Progress) -> None:
        self._restoration = Restoration(
            (destination, partial), progress.advance, self._restored, skip_unsupported=wanted.skip_unsupported
        )
        self._destination = destination
        self._wanted = wanted
        self._base = _parts(wanted.member) if wanted.member is not None else None
        self._root: Parts | None = None
        self._digest = Digest()
        self._members = self._size = 0
        self._seen = 0
        self._is_file = False
        self._file: bytes | None = None  # the sha256 of the last member

    def take(self, member: Member, content: Iterable[Data]) -> None:
        """Restore `member`, if it is wanted."""
        self._seen += 1
        limits = self._wanted.limits
        if limits.members is not None and self._seen > limits.members:
            raise IntegrityError(f"the archive holds more than the {limits.members} members that are recorded")
        path = _parts(member.path)
        if self._root is None:
            self._root = path[:1]
        if self._base is None:
            self._base = self._root
        elif self._members == 0 and path == self._root + self._base:
            self._base = path
        parts = _below(self._base, path)
        if parts is None:
            if self._wanted.member is not None:
                return
            raise IntegrityError(f"the archive holds {member.path} outside its root")
        if self._members == 0:
            _refuse_name(self._path())
        linked = None
        if member.type == "h":
            linked = _below(self._base, _parts(member.link or ""))
            if linked is None:
                raise IntegrityError(f"{member.path} is a hard link to {member.link}, which is not restored")
        self._members += 1
        self._size += member.size
        if limits.size is not None and self._size > limits.size:
            raise IntegrityError(f"the archive holds more than the {limits.size} bytes that are recorded")
        self._is_file = not parts and member.type == "f"
        self._restoration.put(parts, member, content, linked)

    def finish(self) -> Extracted:
        """Compare what was restored with what is expected, and complete it on disk."""
        self._restoration.settle()
        extracted = self._result()
        self._restoration.finish()
        return replace(extracted, unsupported=tuple(self._restoration.unsupported))

    def close(self) -> None:
        """Write nothing any more."""
        self._restoration.close()

    def _restored(self, member: Member) -> None:
        self._digest.add(member)
        self._file = member.sha256

    def _result(self) -> Extracted:
        if self._members == 0:
            if self._wanted.member is not None and self._wanted.digest is None:
                raise NotFoundError(
                    f"the archive has no member {decode(b'/'.join(self._base or ()))}",
                    next_step="mgmt download --archive NAME\n# and list it: tar tzf",
                )
            raise IntegrityError("the archive holds none of the expected members")
        digest = self._digest.hexdigest()
        if self._wanted.digest not in (None, digest):
            raise IntegrityError(f"digest mismatch: the archive has {digest[:12]}, not {self._wanted.digest[:12]}")
        return Extracted(
            path=self._path(),
            digest=digest,
            file_sha256=self._file.hex() if self._file and self._is_file else None,
            members=self._members,
            size=self._size,
        )

    def _path(self) -> str:
        name = self._wanted.name if self._wanted.name is not None else os.fsdecode((self._base or (b"",))[-1])
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise IntegrityError(f"cannot restore as {name!r}: not a valid name")
        return os.path.join(self._destination, name)


def _parts(path: str) -> Parts:
    parts = tuple(encode(path).split(b"/"))
    if b"" in parts or b"." in parts or b".." in parts or "\0" in path:
        raise IntegrityError(f"the archive holds {path!r}, which leads outside its root")
    return parts


def _below(base: Parts, path: Parts) -> Parts | None:
    """The rest of `path` after `base`; None when it is not below it."""
    return path[len(base) :] if path[: len(base)] == base else None
