"""Members back to disk: all of them, as they were, inside the destination, or nothing."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from mgmt.archive.blocks import Data
from mgmt.archive.dirfd import remove_tree
from mgmt.archive.index import IndexEnd
from mgmt.archive.member import Digest, Member, decode, encode
from mgmt.archive.move import fsync_folder, rename_noreplace
from mgmt.archive.restore import Parts, Restoration
from mgmt.errors import ConflictError, IntegrityError, MgmtError, NotFoundError
from mgmt.progress import Progress
from mgmt.signals import finish_first


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold: members, and bytes of content. None: as much as it does."""

    members: int | None = None
    size: int | None = None

    @classmethod
    def of(cls, end: IndexEnd) -> "Limits":
        """What the index says, and not more."""
        return cls(end.members, end.tar_size)


@dataclass(frozen=True)
class Extracted:
    """What was restored as `path`; `size` in bytes of content, `file_sha256` (hex) when it is a single file."""

    path: str
    digest: str
    file_sha256: str | None
    members: int
    size: int


def extract(
    members: Iterable[tuple[Member, Iterable[Data]]],
    destination: str,
    name: str | None = None,
    *,
    member: str | None = None,
    token: str,
    expected_digest: str | None = None,
    limits: Limits | None = None,
    progress: Progress,
) -> Extracted:
    """Restore an archive, or only its member `member` with all that is below it, as `destination/name`.

    `name` is the one in the archive when it is None. Everything is written under a temporary name in `destination`
    that is made of `token` (see `remove_partial`), hashed, compared with `expected_digest` (None: not known), and is
    on disk before it gets its name. Modes (without setuid and
    setgid), times to the nanosecond, links and the user's extended attributes are as they were. `progress` advances
    by bytes of content.

    Raises ConflictError when the name is taken; IntegrityError when the archive is not what is expected, goes beyond
    `limits`, or would write anywhere else; NotFoundError without the member; MgmtError when the disk is full or
    refuses. In each case nothing is left behind.
    """
    partial = _partial(token)
    temporary = os.path.join(destination, partial)
    if os.path.lexists(temporary):
        raise ConflictError(f"{temporary} exists already: an interrupted run has left it behind")
    try:
        restoration = Restoration(destination, partial, progress.advance)
        try:
            extraction = _Extraction(restoration, destination, name, member, limits or Limits())
            for each, content in members:
                extraction.take(each, content)
            extracted = extraction.result(expected_digest)
            restoration.finish()
            finish_first()
            rename_noreplace(temporary, extracted.path)
            fsync_folder(destination)
            return extracted
        finally:
            restoration.close()
            remove_partial(destination, token)
    except OSError as error:
        raise MgmtError(f"{destination} cannot be written to: {error.strerror}") from error


def remove_partial(destination: str, token: str) -> None:
    """Remove what an interrupted `extract` with this token has left in `destination`, if there is anything."""
    if os.path.lexists(os.path.join(destination, _partial(token))):
        remove_tree(destination, _partial(token))


class _Extraction:
    """The members on their way to the disk: where each belongs, and whether it is what was expected."""

    def __init__(
        self,
        restoration: Restoration,
        destination: str,
        name: str | None,
        base: str | None,
        limits: Limits,
    ) -> None:
        self._restoration = restoration
        self._destination = destination
        self._name = name
        self._base = _parts(base) if base is not None else None
        self._chosen = base is not None
        self._limits = limits
        self._digest = Digest()
        self._members = self._size = 0
        self._seen = 0
        self._file: bytes | None = None

    def take(self, member: Member, content: Iterable[Data]) -> None:
        """Restore `member`, if it is one of those that are wanted."""
        self._seen += 1
        if self._limits.members is not None and self._seen > self._limits.members:
            raise IntegrityError(f"the archive holds more than the {self._limits.members} members that are recorded")
        path = _parts(member.path)
        if self._base is None:
            self._base = path[:1]
        parts = _below(self._base, path)
        if parts is None:
            if self._chosen:
                return
            raise IntegrityError(f"the archive holds {member.path} beside its root, which would be written elsewhere")
        if self._members == 0 and os.path.lexists(self._path()):
            raise ConflictError(f"{self._path()} exists already, and nothing is ever overwritten")
        linked = None
        if member.type == "h":
            linked = _below(self._base, _parts(member.link or ""))
            if linked is None:
                raise IntegrityError(f"{member.path} is a hard link to {member.link}, which is not being restored")
        self._members += 1
        self._size += member.size
        if self._limits.size is not None and self._size > self._limits.size:
            raise IntegrityError(f"the archive holds more than the {self._limits.size} bytes that are recorded")
        sha256 = self._restoration.put(parts, member, content, linked)
        if sha256 is not None:
            member = member.with_sha256(sha256)
        if not parts:
            self._file = sha256
        self._digest.add(member)

    def result(self, expected_digest: str | None) -> Extracted:
        """What was restored, found to be what is expected."""
        if self._members == 0:
            if self._chosen and expected_digest is None:
                raise NotFoundError(f"the archive has no member {decode(b'/'.join(self._base or ()))}")
            raise IntegrityError("the archive holds nothing of what it should")
        digest = self._digest.hexdigest()
        if expected_digest not in (None, digest):
            raise IntegrityError(f"the archive is not what was archived: its digest is {digest[:12]}")
        return Extracted(
            path=self._path(),
            digest=digest,
            file_sha256=self._file.hex() if self._file else None,
            members=self._members,
            size=self._size,
        )

    def _path(self) -> str:
        name = self._name if self._name is not None else os.fsdecode((self._base or (b"",))[-1])
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise IntegrityError(f"{name!r} is not a name that anything can be restored as")
        return os.path.join(self._destination, name)


def _parts(path: str) -> Parts:
    parts = tuple(encode(path).split(b"/"))
    if b"" in parts or b"." in parts or b".." in parts or "\0" in path:
        raise IntegrityError(f"the archive holds {path!r}, which would be written elsewhere")
    return parts


def _below(base: Parts, path: Parts) -> Parts | None:
    """What follows `base` in `path`; None when that is elsewhere."""
    return path[len(base) :] if path[: len(base)] == base else None


def _partial(token: str) -> str:
    return f".mgmt-{token}.partial"
