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
    def open(cls, path: str) -> "Index":
        """Read the index in the file `path`. Raises IntegrityError when it is damaged, cut short, or not an index."""
        lengths, crcs = array("I"), array("I")
        digest = hashlib.sha256()
        first = last = b""
        members = 0
        with _damage(path):
            for line in _lines(path):
                first = first or line
                digest.update(last)
                last = line
                if line.startswith(b'{"p":'):
                    members += 1
                    if members == 1:
                        _check_root(json.loads(line)["p"])
                elif line.startswith(b'{"b":'):
                    for length, crc in struct.iter_unpack("<II", base64.b64decode(json.loads(line)["b"])):
                        lengths.append(length)
                        crcs.append(crc)
            if not last.startswith(b'{"end":'):
                raise IntegrityError(f"the index {path} is cut short")
            facts = json.loads(last)
            if facts["sha256"] != digest.hexdigest():
                raise IntegrityError(f"the index {path} is damaged: its lines are not those that were written")
            end = _end(facts)
            if (members, len(lengths)) != (end.members, end.blocks):
                raise IntegrityError(f"the index {path} is damaged: it does not list as much as it says")
            header = _header(path, json.loads(first))
            index = cls(path, header, end, lengths, crcs)
            if not members or (lengths and not index._adds_up()):
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


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """What a line lacks, or has of the wrong kind, means a damaged index."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError, struct.error) as error:
        raise IntegrityError(f"the index {path} is damaged: {error}") from error


def _lines(path: str) -> Iterator[bytes]:
    """The lines of a gzip file; the gzip trailer is checked."""
    with open(path, "rb") as file:
        inflater = zlib.decompressobj(31)
        rest = b""
        try:
            while data := file.read(_FLUSH):
                while data and not inflater.eof:
                    *lines, rest = (rest + inflater.decompress(data, limits.LINE)).split(b"\n")
                    data = inflater.unconsumed_tail
                    for line in lines:
                        if len(line) >= limits.LINE:
                            raise IntegrityError(f"the index {path} is damaged: it has a line that is too long")
                        yield line + b"\n"
                    if len(rest) >= limits.LINE:
                        raise IntegrityError(f"the index {path} is damaged: it has a line that is too long")
        except zlib.error as error:
            raise IntegrityError(f"the index {path} is damaged: {error}") from error
    if not inflater.eof or rest:
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
        block_size=_count(facts["block"], 1, limits.BLOCK),
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
