"""Tar headers: ustar, with POSIX pax records for what ustar cannot represent (docs/format.md, "The tar")."""

import unicodedata
import zlib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from mgmt.archive import limits
from mgmt.archive.member import Type, encode

RECORD = 512
"""Headers and content are padded with zeros to a multiple of this many bytes."""

_TYPEFLAG: dict[Type, bytes] = {"f": b"0", "h": b"1", "l": b"2", "d": b"5"}
_NAME = 100  # bytes of a name, and of a link's target, in ustar
_MAX_OCTAL = 0o77777777777  # the largest number of 11 octal digits: 8 GiB - 1, or a second in the year 2242
_MAX_ID = 0o7777777
_TEN_DIGITS = range(10**9, _MAX_OCTAL + 1)  # seconds, from 2001-09-09 to 2242-03-16

# The header of a file without an owner, after the digits of the checksum and before the prefix; and the constant part
# of that checksum, for which its own field counts as 8 spaces. adler32 starts at one, and is used twice.
_FILE_TAIL = b"\0 0%sustar\x0000%s0000000\x000000000\0" % (bytes(_NAME), bytes(64))
_FILE_SUM = sum(_FILE_TAIL) + 7 * 32 - 2
_TIME_RECORD = 30  # bytes of a pax record of a time with ten digits and nanoseconds


class Owner(NamedTuple):
    """Owner and group of a member. Archives leave them out unless asked, so that the same tree gives the same tar."""

    uid: int
    gid: int
    uname: bytes
    gname: bytes


_NOBODY = Owner(0, 0, b"", b"")


class Header(NamedTuple):
    """The facts in the header records of one member. The path of a folder has no trailing slash here."""

    path: str
    type: Type
    mode: int
    mtime_ns: int
    size: int = 0
    link: str = ""
    owner: Owner | None = None
    xattrs: Mapping[bytes, bytes] = MappingProxyType({})

    def pack(self) -> bytes:
        """All header records of the member, a multiple of 512 bytes."""
        path, link = self._encoded_path(), encode(self.link)
        seconds, nanoseconds = divmod(self.mtime_ns, 10**9)
        name, prefix = (path, b"") if len(path) <= _NAME else _split(path)
        extended = b""
        if (
            nanoseconds
            or not name
            or not 0 <= seconds <= _MAX_OCTAL
            or self.size > _MAX_OCTAL
            or len(link) > _NAME
            or self.owner is not None
            or self.xattrs
            or not path.isascii()
            or not link.isascii()
        ) and (records := self._records(path, link, path_fits=bool(name))):
            extended = _extended(records)
        return extended + _pack(
            _Ustar(
                name or path[:_NAME],
                _TYPEFLAG[self.type],
                self.mode,
                b"%011o\0" % self.size if self.size <= _MAX_OCTAL else b"\x80" + self.size.to_bytes(11, "big"),
                mtime=min(max(seconds, 0), _MAX_OCTAL),
                prefix=prefix,
                link=link[:_NAME],
                owner=self.owner or _NOBODY,
            )
        )

    def check(self) -> int:
        """Refuse what `pack` would write and no reader would accept; return the size of the extended records, or 0
        where they are short. Raises OverLimitError.
        """
        limits.check_facts(self.path, self.link, self.mtime_ns, self.size)
        if not self.xattrs and len(self.path) + len(self.link) <= limits.SHORT_NAMES:
            return 0
        path = self._encoded_path()
        fits = len(path) <= _NAME or bool(_split(path)[0])
        records = self._records(path, encode(self.link), path_fits=fits)
        extended = sum(_record_size(keyword, value) for keyword, value in records.items())
        limits.check_extended(extended, has_xattrs=bool(self.xattrs))
        return extended

    def _encoded_path(self) -> bytes:
        return encode(self.path) + (b"/" if self.type == "d" else b"")

    def _records(self, path: bytes, link: bytes, *, path_fits: bool) -> dict[bytes, bytes]:
        """The pax records, for what ustar cannot represent."""
        records = _name_records(path, link, path_fits=path_fits)
        seconds, nanoseconds = divmod(self.mtime_ns, 10**9)
        if nanoseconds:
            whole, part = divmod(abs(self.mtime_ns), 10**9)
            records[b"mtime"] = b"%s%d.%09d" % (b"-" if self.mtime_ns < 0 else b"", whole, part)
        elif not 0 <= seconds <= _MAX_OCTAL:
            records[b"mtime"] = b"%d" % seconds
        if self.size > _MAX_OCTAL:
            records[b"size"] = b"%d" % self.size
        if self.owner is not None:
            records.update(_owner_records(self.owner))
        for name, value in self.xattrs.items():
            # As GNU tar writes them: the keyword ends at the first "=".
            records[b"SCHILY.xattr." + name.replace(b"%", b"%25").replace(b"=", b"%3D")] = value
        return records


def pack_file(path: bytes, mode: int, mtime_ns: int, size: int) -> bytes | None:
    """The same bytes as `Header.pack` for a file that needs no record but that of its time; None for any other file.

    A tree has mostly such files, and their headers are within all limits (see `limits`).
    """
    seconds, nanoseconds = divmod(mtime_ns, 10**9)
    name, prefix = (path, b"") if len(path) <= _NAME else _split(path)
    if not (name and path.isascii() and seconds in _TEN_DIGITS and size <= _MAX_OCTAL):
        return None
    start = b"%s%07o\x000000000\x000000000\0%011o\0%011o\0" % (name.ljust(_NAME, b"\0"), mode, size, seconds)
    checksum = (zlib.adler32(start) & 0xFFFF) + (zlib.adler32(prefix) & 0xFFFF) + _FILE_SUM
    ustar = b"%s%06o%s%s" % (start, checksum, _FILE_TAIL, prefix.ljust(167, b"\0"))
    if not nanoseconds:
        return ustar
    record = b"%d mtime=%d.%09d\n" % (_TIME_RECORD, seconds, nanoseconds)
    return b"%s%s%s" % (_extended_header(_TIME_RECORD), record.ljust(RECORD, b"\0"), ustar)


def byte_sum(header: bytes) -> int:
    """The sum of the bytes of a header, from which its checksum is computed (POSIX, "ustar Interchange Format")."""
    # The low half of an adler32 is 1 + the sum modulo 65521, which 256 bytes cannot exceed: six times as fast as sum().
    return (zlib.adler32(header[:256]) & 0xFFFF) + (zlib.adler32(header[256:]) & 0xFFFF) - 2


def padding(size: int) -> int:
    """The number of zeros after a content of `size` bytes."""
    return -size % RECORD


def end(tar_size: int) -> int:
    """The number of zeros that end a tar of `tar_size` bytes: 1024, then up to a multiple of 10240."""
    return 1024 + -(tar_size + 1024) % 10240


def _split(path: bytes) -> tuple[bytes, bytes]:
    """`path` as ustar's name and prefix; an empty name when it does not fit."""
    slash = path.find(b"/", len(path) - 101, len(path) - 1)
    if 0 < slash <= 155:
        return path[slash + 1 :], path[:slash]
    return b"", b""


def _name_records(path: bytes, link: bytes, *, path_fits: bool) -> dict[bytes, bytes]:
    # Names that are not UTF-8 stay raw in the ustar fields, where all readers take them as they are. So do decomposed
    # names, which bsdtar would compose: two files could become one. Only a name that does not fit there needs a pax
    # record, and the keyword that pax defines for binary names (GNU tar ignores it, and warns).
    records: dict[bytes, bytes] = {}
    path_is_text, link_is_text = _is_text(path), _is_text(link)
    if not path_fits or (path_is_text and not path.isascii()):
        records[b"path"] = path
        if not path_is_text:
            records[b"hdrcharset"] = b"BINARY"
    if len(link) > _NAME or (link_is_text and not link.isascii()):
        records[b"linkpath"] = link
        if not link_is_text:
            records[b"hdrcharset"] = b"BINARY"
    return records


def _owner_records(owner: Owner) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    if owner.uid > _MAX_ID:
        records[b"uid"] = b"%d" % owner.uid
    if owner.gid > _MAX_ID:
        records[b"gid"] = b"%d" % owner.gid
    if len(owner.uname) > 31 or not owner.uname.isascii():
        records[b"uname"] = owner.uname
    if len(owner.gname) > 31 or not owner.gname.isascii():
        records[b"gname"] = owner.gname
    return records


def _extended(records: dict[bytes, bytes]) -> bytes:
    body = b"".join([_record(keyword, records[keyword]) for keyword in sorted(records)])
    return _extended_header(len(body)) + body + bytes(padding(len(body)))


def _record(keyword: bytes, value: bytes) -> bytes:
    """`LENGTH KEYWORD=VALUE` and a newline."""
    return b"%d %s=%s\n" % (_record_size(keyword, value), keyword, value)


def _record_size(keyword: bytes, value: bytes) -> int:
    """The length of a record, which includes its own digits."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    return length if rest + len(str(length)) == length else length + 1


@lru_cache(maxsize=256)
def _extended_header(size: int) -> bytes:
    return _pack(_Ustar(b"././@PaxHeader", b"x", 0o644, b"%011o\0" % size))


class _Ustar(NamedTuple):
    """The fields of a ustar header; `size` is already encoded."""

    name: bytes
    typeflag: bytes
    mode: int
    size: bytes
    mtime: int = 0
    prefix: bytes = b""
    link: bytes = b""
    owner: Owner = _NOBODY


def _pack(ustar: _Ustar) -> bytes:
    header = b"%s%07o\0%07o\0%07o\0%s%011o\0        %s%sustar\x0000%s%s0000000\x000000000\0%s" % (
        ustar.name.ljust(100, b"\0"),
        ustar.mode,
        min(ustar.owner.uid, _MAX_ID),
        min(ustar.owner.gid, _MAX_ID),
        ustar.size,
        ustar.mtime,
        ustar.typeflag,
        ustar.link.ljust(100, b"\0"),
        ustar.owner.uname[:31].ljust(32, b"\0"),
        ustar.owner.gname[:31].ljust(32, b"\0"),
        ustar.prefix.ljust(167, b"\0"),
    )
    return b"%s%06o\0%s" % (header[:148], byte_sum(header), header[155:])


def _is_text(name: bytes) -> bool:
    """Whether every reader keeps `name` unchanged when it is declared as UTF-8."""
    try:
        return unicodedata.is_normalized("NFC", name.decode())
    except UnicodeDecodeError:
        return False
