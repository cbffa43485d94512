"""Tar headers: ustar where it can say it all, POSIX pax records where it cannot (docs/format.md, "The tar")."""

import unicodedata
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mgmt.archive import limits
from mgmt.archive.member import Type, encode

RECORD = 512
"""Headers and content are padded with zeros to a multiple of this many bytes."""

_TYPEFLAG: dict[Type, bytes] = {"f": b"0", "h": b"1", "l": b"2", "d": b"5"}
_MAX_OCTAL = 0o77777777777  # what 11 octal digits can say: 8 GiB - 1, or a second in the year 2242
_MAX_ID = 0o7777777
_SECOND = 10**9


class Owner(NamedTuple):
    """Whose a member is. Archives say nothing of it unless asked, so that the same tree gives the same tar."""

    uid: int
    gid: int
    uname: bytes
    gname: bytes


_NOBODY = Owner(0, 0, b"", b"")


def pack_header(
    path: bytes,
    kind: Type,
    *,
    mode: int,
    mtime_ns: int,
    size: int = 0,
    link: bytes = b"",
    owner: Owner | None = None,
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """All header records of one member, a multiple of 512 bytes. A folder's path comes without its slash."""
    if kind == "d":
        path += b"/"
    seconds, nanoseconds = divmod(mtime_ns, _SECOND)
    name, prefix = path, b""
    if len(path) > 100:
        name, prefix = _split(path)
    if (
        nanoseconds
        or not name
        or not 0 <= seconds <= _MAX_OCTAL
        or size > _MAX_OCTAL
        or len(link) > 100
        or owner is not None
        or xattrs
        or not path.isascii()
        or not link.isascii()
    ):
        records = _records(path, bool(name), link, mtime_ns, size, owner or _NOBODY, xattrs or {})
        extended = _extended(records) if records else b""
    else:
        extended = b""
    return extended + _ustar(
        name or path[:100],
        prefix,
        _TYPEFLAG[kind],
        mode,
        b"%011o\0" % size if size <= _MAX_OCTAL else b"\x80" + size.to_bytes(11, "big"),
        min(max(seconds, 0), _MAX_OCTAL),
        link[:100],
        owner or _NOBODY,
    )


def check_member(
    path: str,
    kind: Type,
    *,
    mtime_ns: int,
    size: int = 0,
    link: str = "",
    owner: Owner | None = None,
    xattrs: Mapping[bytes, bytes] | None = None,
) -> int:
    """Refuse what `pack_header` would write, and no reader of ours take; give the size of the extended records, or 0
    where they are short. Raises OverLimitError.
    """
    extended = 0
    if xattrs or len(path) + len(link) > 4096:
        name = encode(path) + (b"/" if kind == "d" else b"")
        fits = len(name) <= 100 or bool(_split(name)[0])
        records = _records(name, fits, encode(link), mtime_ns, size, owner or _NOBODY, xattrs or {})
        extended = sum(_record_size(keyword, value) for keyword, value in records.items())
    limits.check_facts(path, link, mtime_ns=mtime_ns, size=size, extended=extended, has_xattrs=bool(xattrs))
    return extended


def byte_sum(header: bytes) -> int:
    """The sum of the bytes of a header, which its checksum is made from (POSIX, "ustar Interchange Format")."""
    # The low half of an adler32 is 1 + the sum modulo 65521, more than 256 bytes can have: six times as fast as sum().
    return (zlib.adler32(header[:256]) & 0xFFFF) + (zlib.adler32(header[256:]) & 0xFFFF) - 2


def padding(size: int) -> int:
    """The zeros that follow a content of `size` bytes."""
    return -size % RECORD


def end(tar_size: int) -> int:
    """The zeros that end a tar whose members take `tar_size` bytes: 1024, then up to a multiple of 10240."""
    return 1024 + -(tar_size + 1024) % 10240


def _split(path: bytes) -> tuple[bytes, bytes]:
    """`path` as ustar's name and prefix; an empty name when it does not fit."""
    slash = path.find(b"/", len(path) - 101, len(path) - 1)
    if 0 < slash <= 155:
        return path[slash + 1 :], path[:slash]
    return b"", b""


def _records(
    path: bytes, path_fits: bool, link: bytes, mtime_ns: int, size: int, owner: Owner, xattrs: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    # Names that are not UTF-8 go raw into the ustar fields, where all readers take them as they are, and so do those
    # that are decomposed, which bsdtar would compose: two files could become one. Only when they do not fit there, pax
    # must say them, with the one record by which it allows for them (GNU tar ignores it, and says so).
    records: dict[bytes, bytes] = {}
    path_is_text, link_is_text = _is_text(path), _is_text(link)
    if not path_fits or (path_is_text and not path.isascii()):
        records[b"path"] = path
        if not path_is_text:
            records[b"hdrcharset"] = b"BINARY"
    if len(link) > 100 or (link_is_text and not link.isascii()):
        records[b"linkpath"] = link
        if not link_is_text:
            records[b"hdrcharset"] = b"BINARY"
    seconds, nanoseconds = divmod(mtime_ns, _SECOND)
    if nanoseconds:
        whole, part = divmod(abs(mtime_ns), _SECOND)
        records[b"mtime"] = b"%s%d.%09d" % (b"-" if mtime_ns < 0 else b"", whole, part)
    elif not 0 <= seconds <= _MAX_OCTAL:
        records[b"mtime"] = b"%d" % seconds
    if size > _MAX_OCTAL:
        records[b"size"] = b"%d" % size
    if owner.uid > _MAX_ID:
        records[b"uid"] = b"%d" % owner.uid
    if owner.gid > _MAX_ID:
        records[b"gid"] = b"%d" % owner.gid
    if len(owner.uname) > 31 or not owner.uname.isascii():
        records[b"uname"] = owner.uname
    if len(owner.gname) > 31 or not owner.gname.isascii():
        records[b"gname"] = owner.gname
    for name, value in xattrs.items():
        # As GNU tar writes them: the keyword ends at the first "=".
        records[b"SCHILY.xattr." + name.replace(b"%", b"%25").replace(b"=", b"%3D")] = value
    return records


def _extended(records: dict[bytes, bytes]) -> bytes:
    body = b"".join([_record(keyword, records[keyword]) for keyword in sorted(records)])
    return _extended_header(len(body)) + body + bytes(padding(len(body)))


def _record(keyword: bytes, value: bytes) -> bytes:
    """`LENGTH KEYWORD=VALUE` and a newline."""
    return b"%d %s=%s\n" % (_record_size(keyword, value), keyword, value)


def _record_size(keyword: bytes, value: bytes) -> int:
    """The length of a record, which counts its own digits too."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    return length if rest + len(str(length)) == length else length + 1


@lru_cache(maxsize=256)
def _extended_header(size: int) -> bytes:
    return _ustar(b"././@PaxHeader", b"", b"x", 0o644, b"%011o\0" % size, 0, b"", _NOBODY)


def _ustar(
    name: bytes, prefix: bytes, typeflag: bytes, mode: int, size: bytes, mtime: int, link: bytes, owner: Owner
) -> bytes:
    header = b"%s%07o\0%07o\0%07o\0%s%011o\0        %s%sustar\x0000%s%s0000000\x000000000\0%s" % (
        name.ljust(100, b"\0"),
        mode,
        min(owner.uid, _MAX_ID),
        min(owner.gid, _MAX_ID),
        size,
        mtime,
        typeflag,
        link.ljust(100, b"\0"),
        owner.uname[:31].ljust(32, b"\0"),
        owner.gname[:31].ljust(32, b"\0"),
        prefix.ljust(167, b"\0"),
    )
    return b"%s%06o\0%s" % (header[:148], byte_sum(header), header[155:])


def _is_text(name: bytes) -> bool:
    """Whether every reader takes `name` as it is when it is said to be UTF-8."""
    try:
        return unicodedata.is_normalized("NFC", name.decode())
    except UnicodeDecodeError:
        return False
