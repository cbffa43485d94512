"""The index: the sidecar that lists an archive's members and blocks (docs/format.md, "The index")."""

import base64
import hashlib
import json
import re
import struct
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Self, cast

from isal import isal_zlib

from mgmt.archive import limits
from mgmt.archive.blocks import BLOCK, HEADER, trailer
from mgmt.archive.member import Member, Type
from mgmt.errors import IntegrityError, NotFoundError

_FLUSH = 1 << 16
_STRIDE = 1024
_MEMBER, _BLOCKS, _END = b'{"p":', b'{"b":', b'{"end":'
_SHORTEST_MEMBER = 40
_COUNT = (1 << 63) - 1
_KEPT = re.compile("(?:[a-z]+:[0-9a-f]{64}(?: [a-z]+:[0-9a-f]{64})*)?")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class IndexHeader:
    """What is known when an archive is begun. `created_at` is RFC 3339, in UTC; sizes are in bytes.

    `owners` and `xattrs` say whether they are kept; older indexes do not say it (see `IndexEnd.kept`).
    """

    key: str
    operation_id: str
    source: str
    host: str
    user: str
    created_at: str
    level: str
    compressor: str
    header_size: int = len(HEADER)
    block_size: int = BLOCK
    owners: bool = False
    xattrs: bool = False


@dataclass(frozen=True)
class IndexEnd:
    """What is known when an archive is complete. Sizes in bytes; `checksum` is the object's, `ALGORITHM:VALUE`.

    `kept` tells the owners and extended attributes that are kept (see `Kept`); None in older indexes, which do not say.
    """

    members: int
    blocks: int
    digest: str
    size: int
    checksum: str
    tar_size: int
    tar_crc32: int
    part_size: int
    kept: str | None = None


class IndexWriter:
    """Writes an index to a file as it becomes known; the same calls write the same bytes. Memory stays flat."""

    def __init__(self, path: str, header: IndexHeader) -> None:
        self._file = open(path, "xb")  # noqa: SIM115 - closed by finish() and close()
        self._deflate = isal_zlib.compressobj(2, isal_zlib.DEFLATED, -15)
        self._hash = hashlib.sha256()
        self._crc = self._size = 0
        self._lines: list[bytes] = []
        self._pending = 0
        self._blocks: list[int] = []
        self._file.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
        self._dump(
            {
                "mgmt": "index",
                "v": 1,
                "key": header.key,
                "operation_id": header.operation_id,
                "source": header.source,
                "host": header.host,
                "user": header.user,
                "created_at": header.created_at,
                "header": header.header_size,
                "block": header.block_size,
                "level": header.level,
                "compressor": header.compressor,
                **{name: True for name in ("owners", "xattrs") if getattr(header, name)},
            }
        )

    def add_block(self, length: int, crc32: int) -> None:
        """The next block takes `length` bytes in the object, and its part of the tar has this crc32."""
        self._blocks += (length, crc32)
        if len(self._blocks) == 2 * limits.BLOCKS_A_LINE:
            self._add_blocks()

    def add_member(self, member: Member) -> None:
        """The next member of the tar. Raises IntegrityError when it has names that no line has room for."""
        if not limits.are_names(member.path, member.link or ""):
            raise IntegrityError(f"the archive holds {member.path[:80]!r}…, a path too long for an index")
        line = f'{{"p":{quote(member.path)},"t":"{member.type}","o":{member.header_offset},"d":{member.data_offset}'
        if member.sha256 is not None:
            line += f',"s":{member.size},"h":"{member.sha256.hex()}"'
        line += f',"m":{member.mode},"n":{member.mtime_ns}'
        if member.link is not None:
            line += f',"l":{quote(member.link)}'
        self._line(line + "}\n")

    def finish(
        self,
        *,
        digest: str,
        size: int,
        checksum: str,
        tar_size: int,
        tar_crc32: int,
        part_size: int,
        members: int,
        blocks: int,
        kept: str | None = "",
    ) -> None:
        """Write the last line and close the file; see IndexEnd."""
        if self._blocks:
            self._add_blocks()
        self._flush()
        self._dump(
            {
                "end": members,
                "blocks": blocks,
                "digest": digest,
                "size": size,
                "checksum": checksum,
                "tar_size": tar_size,
                "tar_crc32": tar_crc32,
                "part_size": part_size,
                **({} if kept is None else {"kept": kept}),
                "sha256": self._hash.hexdigest(),
            }
        )
        self._flush()
        self._file.write(self._deflate.flush(isal_zlib.Z_FINISH))
        self._file.write(self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))
        self.close()

    def close(self) -> None:
        """Close the file, complete or not. Closing twice is harmless, and leaving a `with` block closes too."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _add_blocks(self) -> None:
        numbers = b"".join([number.to_bytes(4, "little") for number in self._blocks])
        self._blocks.clear()
        self._dump({"b": base64.b64encode(numbers).decode()})

    def _dump(self, line: dict[str, object]) -> None:
        self._line(json.dumps(line, separators=(",", ":")) + "\n")

    def _line(self, line: str) -> None:
        self._lines.append(line.encode())
        self._pending += len(line)
        if self._pending >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        lines = b"".join(self._lines)
        self._lines.clear()
        self._pending = 0
        self._hash.update(lines)
        self._crc = isal_zlib.crc32(lines, self._crc)
        self._size += len(lines)
        self._file.write(self._deflate.compress(lines))


class Index:
    """An index that was found whole. `lengths` and `crcs` have a number a block; members stay in the file."""

    def __init__(
        self, path: str, header: IndexHeader, end: IndexEnd, lengths: "array[int]", crcs: "array[int]"
    ) -> None:
        self._path = path
        self.header = header
        self.end = end
        self.lengths = lengths
        self.crcs = crcs
        self._offsets = array("Q", [header.header_size])
        for start in range(0, len(lengths), _STRIDE):
            self._offsets.append(self._offsets[-1] + sum(lengths[start : start + _STRIDE]))

    @property
    def blocks(self) -> int:
        """How many blocks the archive has; none, when it is a foreign one."""
        return len(self.lengths)

    @classmethod
    def open(cls, path: str, *, object_size: int | None = None) -> "Index":
        """Read the index in the file `path`. Raises IntegrityError when it is damaged, cut short, or not an index.

        `object_size` is that of the archive, as its store says. An index that lists more than an archive of that size
        can hold is refused where it does so: an index takes memory of about 1 % of its archive's size at most. Without
        it the index is held against the size that it states itself, which takes a second reading.
        """
        with _damage(path):
            if object_size is None:
                object_size = _stated_size(path)
            reading = _Reading(path, object_size)
            for line in _lines(path, limits.largest_index(object_size)):
                reading.take(line)
            end = reading.end()
            if reading.header is None:
                raise IntegrityError(f"the index {path} is cut short")
            index = cls(path, reading.header, end, reading.lengths, reading.crcs)
            if reading.lengths and not index._adds_up():
                raise IntegrityError(f"the index {path} is damaged: its numbers do not add up")
            return index

    def _adds_up(self) -> bool:
        size = self.block_offset(self.blocks) + len(trailer(0, 0))
        return self.blocks == -(-self.end.tar_size // self.header.block_size) and self.end.size == size

    def block_offset(self, block: int) -> int:
        """Where in the object block number `block` begins; for the number of blocks, where the last one ends."""
        start = block // _STRIDE * _STRIDE
        return self._offsets[block // _STRIDE] + sum(self.lengths[start:block])

    def members(self) -> Iterator[Member]:
        """Every member in tar order, read from the file as it goes."""
        with _damage(self._path):
            for line in _lines(self._path):
                if line.startswith(b'{"p":'):
                    yield _member(json.loads(line), self.end)

    def find(self, path: str) -> Member:
        """The member `path`. Raises NotFoundError."""
        start = f'{{"p":{quote(path)},'.encode()
        with _damage(self._path):
            for line in _lines(self._path):
                if line.startswith(start):
                    return _member(json.loads(line), self.end)
        raise NotFoundError(f"{self.header.key} has no member {path}")


class _Reading:
    """An index on its way into memory, refused as soon as it has more than an object of that size can hold."""

    def __init__(self, path: str, object_size: int) -> None:
        self.lengths, self.crcs = array("I"), array("I")
        self.members = 0
        self.header: IndexHeader | None = None
        self._path = path
        self._object_size = object_size
        self._most_members = limits.most_members(object_size)
        self._digest = hashlib.sha256()
        self._last = b""
        self._end = len(trailer(0, 0))  # where the object ends, by the blocks so far
        self._least = 0

    def take(self, line: bytes) -> None:
        """The next line."""
        self._digest.update(self._last)
        if self._last.startswith(_END):
            raise IntegrityError(f"the index {self._path} is damaged: it goes on after its end")
        self._last = line
        if self.header is None:
            self.header = _header(self._path, json.loads(line))
            self._end += self.header.header_size
            self._least = -(-self.header.block_size // limits.RATIO)
        elif line.startswith(_MEMBER) and len(line) >= _SHORTEST_MEMBER:
            self.members += 1
            if self.members == 1:
                _check_root(json.loads(line)["p"])
            if self.members > self._most_members:
                raise IntegrityError(f"the index {self._path} is damaged: more members than fit in its archive")
        elif line.startswith(_BLOCKS):
            self._take_blocks(base64.b64decode(json.loads(line)["b"]))
        elif not line.startswith(_END):
            raise IntegrityError(f"the index {self._path} is damaged: it has a line {line[:40]!r}")

    def _take_blocks(self, numbers: bytes) -> None:
        if len(numbers) > 8 * limits.BLOCKS_A_LINE:
            raise IntegrityError(f"the index {self._path} is damaged: it has too many blocks in a line")
        for length, crc in struct.iter_unpack("<II", numbers):
            if self.lengths and self.lengths[-1] < self._least:  # only the last one may be short
                raise IntegrityError(f"the index {self._path} is damaged: a block is shorter than any can be")
            self._end += length
            self.lengths.append(length)
            self.crcs.append(crc)
        if self._end > self._object_size:
            raise IntegrityError(f"the index {self._path} is damaged: more blocks than fit in its archive")

    def end(self) -> IndexEnd:
        """The last line, found to fit all others."""
        if not self._last.startswith(_END):
            raise IntegrityError(f"the index {self._path} is cut short")
        facts = json.loads(self._last)
        if facts["sha256"] != self._digest.hexdigest():
            raise IntegrityError(f"the index {self._path} is damaged: its lines are not those that were written")
        end = _end(facts)
        if (self.members, len(self.lengths)) != (end.members, end.blocks):
            raise IntegrityError(f"the index {self._path} is damaged: it does not list as much as it says")
        if not 0 < self.members <= end.tar_size // limits.RECORD or end.tar_size > limits.RATIO * end.size:
            raise IntegrityError(f"the index {self._path} is damaged: its numbers do not add up")
        if end.size != self._object_size:
            raise IntegrityError(f"the index {self._path} is of an archive of {end.size} bytes, and this is another")
        return end


def _stated_size(path: str) -> int:
    """The size of the object as the last line has it, found in flat memory."""
    last = _last_line(path)
    if not last.startswith(_END):
        raise IntegrityError(f"the index {path} is cut short")
    return _count(json.loads(last)["size"], most=limits.SIZE - 1)


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """What a line lacks, or has of the wrong kind, means a damaged index."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError, struct.error) as error:
        raise IntegrityError(f"the index {path} is damaged: {error}") from error


def _lines(path: str, most: int | None = None) -> Iterator[bytes]:
    """The lines of a gzip file; the gzip trailer is checked. There may be `most` bytes of them."""
    size = 0
    rest = b""
    for piece in _inflated(path):
        size += len(piece)
        if most is not None and size > most:
            raise IntegrityError(f"the index {path} is damaged: it is longer than its archive allows")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if len(line) >= limits.LINE:
                raise IntegrityError(f"the index {path} is damaged: it has a line that is too long")
            yield line + b"\n"
        if len(rest) >= limits.LINE:
            raise IntegrityError(f"the index {path} is damaged: it has a line that is too long")
    if rest:
        raise IntegrityError(f"the index {path} is cut short")


def _last_line(path: str) -> bytes:
    """The last line of a gzip file, without a look at the others."""
    last = b""
    for piece in _inflated(path):
        last = (last + piece)[-limits.LINE :]
        last = last[last.rfind(b"\n", 0, -1) + 1 :]
    return last


def _inflated(path: str) -> Iterator[bytes]:
    """What is in a gzip file, at most 1 MiB at a time."""
    with open(path, "rb") as file:
        inflater = zlib.decompressobj(31)
        try:
            while data := file.read(_FLUSH):
                while data and not inflater.eof:
                    yield inflater.decompress(data, limits.LINE)
                    data = inflater.unconsumed_tail
        except zlib.error as error:
            raise IntegrityError(f"the index {path} is damaged: {error}") from error
    if not inflater.eof:
        raise IntegrityError(f"the index {path} is cut short")


def _check_root(path: object) -> None:
    if path in ("", ".", "..") or "/" in _text(path) or "\0" in _text(path):
        raise ValueError(f"{path!r:.80} is not the name of a root")


def _count(value: object, least: int = 0, most: int = _COUNT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.80} where a number from {least} to {most} belongs")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} where a text belongs")  # noqa: TRY004 - it is what the file says that is wrong
    return value


def _sha256(value: object) -> str:
    if not _SHA256.fullmatch(_text(value)):
        raise ValueError(f"{value!r:.80} where a sha256 belongs")
    return _text(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.80} where true or false belongs")  # noqa: TRY004 - as above
    return value


def _kept(value: object) -> str | None:
    if value is not None and not _KEPT.fullmatch(_text(value)):
        raise ValueError(f"{value!r:.80} where what is kept belongs")
    return None if value is None else _text(value)


def _header(path: str, facts: dict[str, Any]) -> IndexHeader:
    if facts["mgmt"] != "index" or facts["v"] != 1:
        raise IntegrityError(f"{path} is not an index of version 1, the only one that this mgmt knows")
    return IndexHeader(
        key=_text(facts["key"]),
        operation_id=_text(facts["operation_id"]),
        source=_text(facts["source"]),
        host=_text(facts["host"]),
        user=_text(facts["user"]),
        created_at=_text(facts["created_at"]),
        level=_text(facts["level"]),
        compressor=_text(facts["compressor"]),
        header_size=_count(facts["header"]),
        block_size=_count(facts["block"], limits.SMALLEST_BLOCK, limits.LARGEST_BLOCK),
        owners=_flag(facts.get("owners", False)),
        xattrs=_flag(facts.get("xattrs", False)),
    )


def _end(facts: dict[str, Any]) -> IndexEnd:
    return IndexEnd(
        members=_count(facts["end"]),
        blocks=_count(facts["blocks"]),
        digest=_sha256(facts["digest"]),
        size=_count(facts["size"], most=limits.SIZE - 1),
        checksum=_text(facts["checksum"]),
        tar_size=_count(facts["tar_size"], most=limits.SIZE - 1),
        tar_crc32=_count(facts["tar_crc32"], most=0xFFFFFFFF),
        part_size=_count(facts["part_size"]),
        kept=_kept(facts.get("kept")),
    )


def _member(facts: dict[str, Any], end: IndexEnd) -> Member:
    type_, link = _text(facts["t"]), facts.get("l")
    if type_ not in ("f", "d", "l", "h") or (type_ in "lh" and not link):
        raise ValueError(f"{type_!r:.80} where the type of a member belongs")
    size = _count(facts.get("s", 0), most=end.tar_size)
    return Member(
        path=_text(facts["p"]),
        type=cast(Type, type_),
        mode=_count(facts["m"], most=0o7777),
        mtime_ns=_count(facts["n"], -limits.TIME_NS, limits.TIME_NS - 1),
        size=size,
        header_offset=_count(facts["o"], most=end.tar_size),
        data_offset=_count(facts["d"], most=end.tar_size - size),
        sha256=bytes.fromhex(_sha256(facts["h"])) if type_ == "f" else None,
        link=None if link is None else _text(link),
    )
