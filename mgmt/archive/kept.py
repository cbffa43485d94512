"""Owners and extended attributes: the part of a content's identity besides its digest (docs/format.md)."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from mgmt.archive.member import Member, relative
from mgmt.choices import NO_XATTRS

_OWNERS = "owners:"
_XATTRS = "xattrs:"


class Ids(NamedTuple):
    """Owner and group of a member, by number."""

    uid: int
    gid: int


class Kept:
    """Owners and extended attributes of members, as tokens. They do not depend on the name of the root.

    A token is `owners:` or `xattrs:` and a sha256 in hex. What is kept is recorded as the tokens of what was asked for,
    sorted and separated by a space; as an empty string when neither was.
    """

    def __init__(self) -> None:
        self._owners = hashlib.sha256()
        self._xattrs = hashlib.sha256()
        self._root: str | None = None
        self._has_xattrs = False

    def add(self, member: Member, ids: Ids, xattrs: Mapping[bytes, bytes]) -> None:
        """Add the next member, in tar order; the first one is the root. A hard link has nothing of its own."""
        root = self._root = self._root if self._root is not None else member.path
        if member.type == "h":
            return
        path = relative(member.path, root)
        self._owners.update(b"%s\0%d\0%d\n" % (path, *ids))
        if xattrs:
            self._has_xattrs = True
            self._xattrs.update(b"%s\0%d\0" % (path, len(xattrs)))
            for name, value in sorted(xattrs.items()):
                self._xattrs.update(b"%s\0%d\0" % (name, len(value)))
                self._xattrs.update(value)
            self._xattrs.update(b"\n")

    @property
    def has_xattrs(self) -> bool:
        """Whether any member so far has extended attributes."""
        return self._has_xattrs

    def tokens(self, *, owners: bool = True, xattrs: bool = True) -> str:
        """The tokens of the members so far, of owners, extended attributes, both or neither."""
        tokens = [_OWNERS + self._owners.hexdigest()] if owners else []
        if xattrs:
            tokens.append(_XATTRS + self._xattrs.hexdigest())
        return " ".join(tokens)


def covers(kept: str, wanted: str) -> bool:
    """Whether an archive that keeps `kept` has every token of `wanted`.

    Where there are no extended attributes, an archive has them all, with or without `--xattrs`.
    """
    tokens = kept.split()
    bare = not any(token.startswith(_XATTRS) for token in tokens)
    return all(token in tokens or (bare and token == NO_XATTRS) for token in wanted.split())
