"""The index: the sidecar that lists an archive's members and blocks (docs/format.md, "The index")."""

import base64
import hashlib
import json
import struct
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from json.encoder import encode_basestring_ascii as quote
from typing import Any

from mgmt.archive import limits
from mgmt.archive.blocks import trailer
from mgmt.archive.index_lines import IndexEnd, IndexHeader, check_root, to_count, to_end, to_header, to_member
from mgmt.archive.member import Member
from mgmt.errors import IntegrityError, NotFoundError

_READ = 1 << 16
_STRIDE = 1024
_MEMBER, _BLOCKS, _END = b'{"p":', b'{"b":', b'{"end":'
_SHORTEST_MEMBER = 40
_decode = json.JSONDecoder().decode


class Index:
    """A complete, checked index. `lengths` and `crcs` have one number per block; members stay in the file."""

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
        """The number of blocks; 0 for an archive that mgmt did not write."""
        return len(self.lengths)

    @classmethod
    def open(cls, path: str, *, object_size: int | None = None) -> "Index":
        """Read the index in the file `path`. Raises IntegrityError when it is damaged, cut short, or not an index.

        `object_size` is the size of the archive as its store states it. An index that lists more than such an archive
        can hold is rejected at that point, so an index takes memory of at most about 1 % of its archive's size. Without
        it, the size that the index itself states is used, which means reading the file twice.
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
                raise IntegrityError(f"the index {path} is damaged: its numbers are inconsistent")
            return index

    def _adds_up(self) -> bool:
        size = self.block_offset(self.blocks) + len(trailer(0, 0))
        return self.blocks == -(-self.end.tar_size // self.header.block_size) and self.end.size == size

    def block_offset(self, block: int) -> int:
        """The offset of block number `block` in the object; for the number of blocks, the end of the last one."""
        start = block // _STRIDE * _STRIDE
        return self._offsets[block // _STRIDE] + sum(self.lengths[start:block])

    def members(self) -> Iterator[Member]:
        """Every member in tar order, read from the file one by one."""
        with _damage(self._path):
            for line in _lines(self._path):
                if line.startswith(_MEMBER):
                    yield to_member(_parsed(line), self.end)

    def find(self, path: str) -> Member:
        """The member `path`. Raises NotFoundError."""
        start = f'{{"p":{quote(path)},'.encode()
        with _damage(self._path):
            for line in _lines(self._path):
                if line.startswith(start):
                    return to_member(_parsed(line), self.end)
        raise NotFoundError(f"{self.header.key} has no member {path}")


class _Reading:
    """Reads an index into memory, and rejects it as soon as it lists more than an object of that size can hold."""

    def __init__(self, path: str, object_size: int) -> None:
        self.lengths, self.crcs = array("I"), array("I")
        self.members = 0
        self.header: IndexHeader | None = None
        self._path = path
        self._object_size = object_size
        self._most_members = limits.most_members(object_size)
        self._digest = hashlib.sha256()
        self._last = b""
        self._end = len(trailer(0, 0))  # of the object, given the blocks so far
        self._least = 0

    def take(self, line: bytes) -> None:
        """Take the next line."""
        self._digest.update(self._last)
        if self._last.startswith(_END):
            raise IntegrityError(f"the index {self._path} is damaged: lines after the end")
        self._last = line
        if self.header is None:
            self.header = to_header(self._path, _parsed(line))
            self._end += self.header.header_size
            self._least = -(-self.header.block_size // limits.RATIO)
        elif line.startswith(_MEMBER) and len(line) >= _SHORTEST_MEMBER:
            self.members += 1
            if self.members == 1:
                check_root(_parsed(line)["p"])
            if self.members > self._most_members:
                raise IntegrityError(f"the index {self._path} is damaged: more members than fit in its archive")
        elif line.startswith(_BLOCKS):
            self._take_blocks(base64.b64decode(_parsed(line)["b"]))
        elif not line.startswith(_END):
            raise IntegrityError(f"the index {self._path} is damaged: unknown line {line[:40]!r}")

    def _take_blocks(self, numbers: bytes) -> None:
        if len(numbers) > 8 * limits.BLOCKS_A_LINE:
            raise IntegrityError(f"the index {self._path} is damaged: too many blocks in a line")
        for length, crc in struct.iter_unpack("<II", numbers):
            if self.lengths and self.lengths[-1] < self._least:  # only the last block may be short
                raise IntegrityError(f"the index {self._path} is damaged: a block is too short")
            self._end += length
            self.lengths.append(length)
            self.crcs.append(crc)
        if self._end > self._object_size:
            raise IntegrityError(f"the index {self._path} is damaged: more blocks than fit in its archive")

    def end(self) -> IndexEnd:
        """The last line, after comparing it with all others."""
        if not self._last.startswith(_END):
            raise IntegrityError(f"the index {self._path} is cut short")
        facts = _parsed(self._last)
        if facts["sha256"] != self._digest.hexdigest():
            raise IntegrityError(f"the index {self._path} is damaged: sha256 mismatch")
        end = to_end(facts)
        if (self.members, len(self.lengths)) != (end.members, end.blocks):
            raise IntegrityError(
                f"the index {self._path} is damaged: it lists another number of members or blocks than it states"
            )
        if not 0 < self.members <= end.tar_size // limits.RECORD or end.tar_size > limits.RATIO * end.size:
            raise IntegrityError(f"the index {self._path} is damaged: its numbers are inconsistent")
        if end.size != self._object_size:
            raise IntegrityError(
                f"the index {self._path} belongs to an archive of {end.size} bytes, not {self._object_size}"
            )
        return end


def _parsed(line: bytes) -> Any:
    """The value of a line of JSON in UTF-8. Raises ValueError. `json.loads` would guess the encoding of every line."""
    return _decode(line.decode("utf-8", "surrogatepass"))


def _stated_size(path: str) -> int:
    """The size of the object as the last line states it, read in constant memory."""
    last = _last_line(path)
    if not last.startswith(_END):
        raise IntegrityError(f"the index {path} is cut short")
    return to_count(_parsed(last)["size"], most=limits.SIZE - 1)


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """Turn a missing field, or one of the wrong type, into IntegrityError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError, struct.error) as error:
        raise IntegrityError(f"the index {path} is damaged: {error}") from error


def _lines(path: str, most: int | None = None) -> Iterator[bytes]:
    """The lines of a gzip file, at most `most` bytes of them; the gzip trailer is checked."""
    size = 0
    rest = b""
    for piece in _inflated(path):
        size += len(piece)
        if most is not None and size > most:
            raise IntegrityError(f"the index {path} is damaged: it is longer than its archive allows")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if len(line) >= limits.LINE:
                raise IntegrityError(f"the index {path} is damaged: a line is too long")
            yield line + b"\n"
        if len(rest) >= limits.LINE:
            raise IntegrityError(f"the index {path} is damaged: a line is too long")
    if rest:
        raise IntegrityError(f"the index {path} is cut short")


def _last_line(path: str) -> bytes:
    """The last line of a gzip file; the others are not parsed."""
    last = b""
    for piece in _inflated(path):
        last = (last + piece)[-limits.LINE :]
        last = last[last.rfind(b"\n", 0, -1) + 1 :]
    return last


def _inflated(path: str) -> Iterator[bytes]:
    """The content of a gzip file, at most 1 MiB at a time."""
    with open(path, "rb") as file:
        inflater = zlib.decompressobj(31)
        try:
            while data := file.read(_READ):
                while data and not inflater.eof:
                    yield inflater.decompress(data, limits.LINE)
                    data = inflater.unconsumed_tail
        except zlib.error as error:
            raise IntegrityError(f"the index {path} is damaged: {error}") from error
    if not inflater.eof:
        raise IntegrityError(f"the index {path} is cut short")
