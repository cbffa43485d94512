"""The members of an archive, and the digest that identifies all of them together."""

import hashlib
from typing import Literal, NamedTuple

Type = Literal["f", "d", "l", "h"]


def encode(name: str) -> bytes:
    """The bytes of a name or path in an archive: UTF-8, with lone surrogates for bytes that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def decode(name: bytes) -> str:
    """The text of a name or path from an archive; `encode` returns exactly the same bytes."""
    return name.decode("utf-8", "surrogateescape")


class Member(NamedTuple):
    """One entry of an archive.

    `path` begins with the archive's root and has no trailing slash. `type` is `f` (file), `d` (folder), `l` (symbolic
    link) or `h` (hard link). `size` is in bytes, 0 for all but files; `mtime_ns` is in nanoseconds since 1970,
    UTC; offsets are those in the tar, of the first header and of the content. `sha256` is that of a file's content,
    None while unknown. `link` is the target of a symbolic link, or the path of the member that a hard link refers to.
    """

    path: str
    type: Type
    mode: int
    mtime_ns: int
    size: int
    header_offset: int
    data_offset: int
    sha256: bytes | None
    link: str | None

    def with_sha256(self, sha256: bytes) -> "Member":
        """The same member with the hash of its content."""
        return Member(*self[:7], sha256, self.link)  # a third of the time of _replace


class Digest:
    """The portable identity of an archive (docs/format.md): it depends on the content, not on the name of the root."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._root: str | None = None

    def add(self, member: Member) -> None:
        """Add the next member, in tar order. The first one is the root; a file must have its `sha256`."""
        path, kind, mode, mtime_ns, size, _, _, sha256, link = member
        root = self._root = self._root if self._root is not None else path
        if kind == "f":
            last = (sha256 or b"").hex().encode()
        elif kind == "h":
            last = relative(link or "", root)
        else:
            last = encode(link or "")
        facts = kind.encode(), relative(path, root), mode, mtime_ns, size, last
        self._hash.update(b"%s\0%s\0%o\0%d\0%d\0%s\n" % facts)

    def hexdigest(self) -> str:
        """The digest of the members so far, 64 hex digits."""
        return self._hash.hexdigest()


def relative(path: str, root: str) -> bytes:
    """The path of a member in the digest: relative to the root, which is a dot."""
    return b"." if path == root else encode(path.removeprefix(root + "/"))
