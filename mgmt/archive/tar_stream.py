"""Reading a tar as a stream: those of mgmt and of other tools (POSIX pax, ustar, GNU, v7)."""

import re
from collections.abc import Callable, Iterable, Iterator

from mgmt.archive import limits
from mgmt.archive.blocks import Data
from mgmt.archive.header import RECORD, byte_sum, padding
from mgmt.archive.kept import Ids
from mgmt.archive.member import Member, Type, decode
from mgmt.errors import IntegrityError

_TYPES: dict[bytes, Type] = {b"0": "f", b"\0": "f", b"7": "f", b"1": "h", b"2": "l", b"5": "d"}
_NOT_KEPT = {b"3": "a character device", b"4": "a block device", b"6": "a FIFO"}
_EXTENDED = b"xXgLK"
_LONG_NAME, _LONG_LINK, _GLOBAL = b"LKg"
_SPARSE = b"GNU.sparse."
_XATTR = b"SCHILY.xattr."
_PAX_RECORD = re.compile(rb"(\d{1,7}) ")
_TIME = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?")

Skip = Callable[[str, str], None]


class Content:
    """The content of a member, piece by piece; empty for all but files. Read it before the next member."""

    def __init__(self, stream: "_Stream", size: int, pax: dict[bytes, bytes], ustar: bytes) -> None:
        self._stream = stream
        self._left = size
        self._padding = padding(size)
        self._pax = pax
        self._ustar = ustar

    def __iter__(self) -> Iterator[Data]:
        return self

    def __next__(self) -> Data:
        if not self._left:
            raise StopIteration
        piece = self._stream.some(self._left)
        self._left -= len(piece)
        return piece

    def xattrs(self) -> dict[bytes, bytes]:
        """The extended attributes of the member. Raises IntegrityError when one has an invalid name."""
        xattrs: dict[bytes, bytes] = {}
        for keyword, value in self._pax.items():
            if keyword.startswith(_XATTR):
                xattrs[keyword[len(_XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")] = value
        for name in xattrs:
            if not name or b"\0" in name:
                raise IntegrityError(f"the archive holds an attribute with the invalid name {name!r}")
        return xattrs

    def ids(self) -> Ids:
        """Owner and group of the member, by number; 0 where the archive does not state one."""
        return Ids(self._id(b"uid", 108), self._id(b"gid", 116))

    def is_owned(self) -> bool:
        """Whether the archive states an owner of the member."""
        names = self._pax.get(b"uname") or self._pax.get(b"gname")
        if self._ustar[257:262] == b"ustar":
            names = names or self._ustar[265:329].strip(b"\0")
        return bool(names) or self.ids() != (0, 0)

    def _id(self, keyword: bytes, at: int) -> int:
        try:
            value = self._pax.get(keyword)
            return _decimal(value) if value else _number(self._ustar[at : at + 8])
        except IntegrityError:
            return 0

    def skip(self) -> None:
        """Skip what was not read."""
        self._stream.skip(self._left + self._padding)
        self._left = self._padding = 0


def read_members(tar: Iterable[Data], on_skip: Skip | None = None) -> Iterator[tuple[Member, Content]]:
    """Every member of `tar` with its content, in order; `sha256` is None, offsets and nanoseconds are exact.

    A member that is neither file, folder nor link is passed to `on_skip`, with path and reason; without it,
    IntegrityError is raised, as for anything that is not a tar. The tar is read to its end, so that its source can
    check it completely.
    """
    stream = _Stream(tar)
    common: dict[bytes, bytes] = {}
    while True:
        offset = stream.offset
        found = _next_header(stream, common)
        if found is None:
            break
        pax, ustar = found
        typeflag = ustar[156:157]
        if typeflag == b"V":  # a volume label
            continue
        size = _decimal(pax[b"size"]) if b"size" in pax else _number(ustar[124:136])
        if not limits.is_size(size):
            raise IntegrityError(f"a tar header states an invalid size: {size}")
        path = _path(pax.get(b"path") or _name(ustar))
        kind = _TYPES.get(typeflag)
        if typeflag == b"\0" and _name(ustar).endswith(b"/"):  # as written before POSIX
            kind = "d"
        if kind is None or _SPARSE in pax:
            reason = _NOT_KEPT.get(typeflag, "a sparse file" if typeflag in b"0S" else f"of type {decode(typeflag)!r}")
            if on_skip is None:
                raise IntegrityError(f"the archive holds {path}, {reason}, which mgmt cannot restore")
            on_skip(path, reason)
            stream.skip(0 if typeflag in _NOT_KEPT else size + padding(size))
            continue
        if kind != "f":
            size = 0
        mode = _number(ustar[100:108]) & 0o7777
        mtime_ns = _time(pax[b"mtime"]) if b"mtime" in pax else _checked(_number(ustar[136:148]) * 10**9)
        link = None if kind in "fd" else _link(kind, pax.get(b"linkpath") or _text(ustar[157:257]))
        content = Content(stream, size, pax, ustar)
        yield Member(path, kind, mode, mtime_ns, size, offset, stream.offset, None, link), content
        content.skip()
    stream.drain()


def _next_header(stream: "_Stream", common: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], bytes] | None:
    """The extended records and the last header of the next member; None at the end of the tar.

    Global records are added to `common`.
    """
    pax = common.copy()
    for extended in range(limits.EXTENDED_IN_A_ROW):
        header = stream.header()
        if header is None:
            if extended:
                raise IntegrityError("the tar ends after an extended header")
            return None
        typeflag = header[156]
        if typeflag not in _EXTENDED:
            return pax, header
        body = stream.extension(_number(header[124:136]))
        if typeflag == _LONG_NAME:
            pax[b"path"] = _text(body)
        elif typeflag == _LONG_LINK:
            pax[b"linkpath"] = _text(body)
        else:
            records = _pax_records(body)
            pax.update(records)
            if typeflag == _GLOBAL:
                common.update(records)
    raise IntegrityError(f"the tar has too many extended headers at offset {stream.offset}")


class _Stream:
    """A stream of bytes, read in other lengths than it arrives in."""

    def __init__(self, pieces: Iterable[Data]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")
        self._size = self._at = 0  # of the piece, and in it
        self._before = 0

    @property
    def offset(self) -> int:
        """The number of bytes read."""
        return self._before + self._at

    def _is_at_end(self) -> bool:
        """Whether there is no more byte. Goes on to the next piece at the end of one."""
        while self._at == self._size:
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._before += self._size
            self._piece, self._size, self._at = memoryview(piece), len(piece), 0
        return False

    def some(self, most: int) -> memoryview:
        """At least one byte, at most `most`, without a copy."""
        if self._is_at_end():
            raise IntegrityError("the tar is truncated")
        start = self._at
        self._at = stop = min(start + most, self._size)
        return self._piece[start:stop]

    def exactly(self, count: int) -> bytes:
        start = self._at
        if (stop := start + count) <= self._size:
            self._at = stop
            return self._piece[start:stop].tobytes()
        pieces = []
        while count:
            pieces.append(self.some(count))
            count -= len(pieces[-1])
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        while (left := self._size - self._at) < count:
            count -= left
            self._at = self._size
            if self._is_at_end():
                raise IntegrityError("the tar is truncated")
        self._at += count

    def header(self) -> bytes | None:
        """The next header, with its checksum verified; None at the end of the tar: zeros, or no more bytes."""
        if self._is_at_end():
            return None
        header = self.exactly(RECORD)
        if not header[0] and header.count(0) == RECORD:
            return None
        stated = header[148:156]
        if _number(stated) != byte_sum(header) - sum(stated) + 8 * 32:
            raise IntegrityError(f"no valid tar header at offset {self.offset - RECORD}")
        return header

    def extension(self, size: int) -> bytes:
        if not 0 <= size <= limits.EXTENDED:
            raise IntegrityError(f"the tar has an extended header of {size} bytes at offset {self.offset}")
        return self.exactly(size + padding(size))[:size]

    def drain(self) -> None:
        while not self._is_at_end():
            self._at = self._size


def _number(field: bytes) -> int:
    """Octal digits, or GNU's base 256 for larger numbers."""
    try:
        return int(field.rstrip(b" \0"), 8)
    except ValueError:
        return _rare_number(field)


def _rare_number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F if field[0] != 0xFF else 0xFF]) + field[1:], "big", signed=True)
    try:
        return int(_text(field).strip() or b"0", 8)
    except ValueError:
        raise IntegrityError(f"a tar header has an invalid number: {field!r}") from None


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise IntegrityError(f"an extended header has an invalid number: {value[:40]!r}")
    return int(value)


def _time(value: bytes) -> int:
    match = _TIME.fullmatch(value)
    if match is None:
        raise IntegrityError(f"an extended header has an invalid time: {value[:40]!r}")
    sign, seconds, fraction = match.groups(b"")
    nanoseconds = int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
    return _checked(-nanoseconds if sign else nanoseconds)


def _checked(mtime_ns: int) -> int:
    if not limits.is_time(mtime_ns):
        raise IntegrityError(f"a tar header has a time out of range: {mtime_ns} ns")
    return mtime_ns


def _pax_records(body: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        match = _PAX_RECORD.match(body, at)
        end = at + int(match[1]) if match else 0
        if match is None or end > len(body) or end <= match.end() or body[end - 1 : end] != b"\n":
            raise IntegrityError("an extended header is damaged")
        keyword, equals, value = body[match.end() : end - 1].partition(b"=")
        if not equals:
            raise IntegrityError("an extended header is damaged")
        records[_SPARSE if keyword.startswith(_SPARSE) else keyword] = value
        at = end
    return records


def _name(header: bytes) -> bytes:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        return _text(header[345:500]) + b"/" + name
    return name


def _link(kind: Type, target: bytes) -> str:
    return decode(target) if kind == "l" else _path(target)


def _path(path: bytes) -> str:
    """A member's path: without a trailing slash, and without the leading `./` that some tools write."""
    while path.startswith(b"./") and len(path) > 2:
        path = path[2:]
    path = path.rstrip(b"/") or path[:1]
    if path.count(b"/") >= limits.DEPTH:
        raise IntegrityError(f"the archive holds a path with more than {limits.DEPTH} parts")
    return decode(path)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
