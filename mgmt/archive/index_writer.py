"""Writing the index of an archive (docs/format.md, "The index")."""

import base64
import hashlib
import json
from json.encoder import encode_basestring_ascii as quote
from typing import Self

import deflate
from isal import isal_zlib

from mgmt.archive import limits
from mgmt.archive.index_lines import IndexEnd, IndexHeader
from mgmt.archive.member import Member
from mgmt.errors import IntegrityError

_FLUSH = 1 << 16


class IndexWriter:
    """Writes an index to a file step by step, in constant memory. The same calls write the same bytes."""

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
        """Add the next block: `length` bytes of the object, whose part of the tar has this crc32."""
        self._blocks += (length, crc32)
        if len(self._blocks) == 2 * limits.BLOCKS_A_LINE:
            self._add_blocks()

    def add_member(self, member: Member) -> None:
        """Add the next member of the tar. Raises IntegrityError when its names are too long for a line."""
        path, kind, mode, mtime_ns, size, header_offset, data_offset, sha256, link = member
        if not limits.are_names(path, link or ""):
            raise IntegrityError(f"the archive holds {path[:80]!r}…, a path too long for an index")
        content = "" if sha256 is None else f',"s":{size},"h":"{sha256.hex()}"'
        target = "" if link is None else f',"l":{quote(link)}'
        self._line(
            f'{{"p":{quote(path)},"t":"{kind}","o":{header_offset},"d":{data_offset}{content},"m":{mode},"n":{mtime_ns}'
            f"{target}}}\n"
        )

    def finish(self, end: IndexEnd) -> None:
        """Write the last line and close the file."""
        if self._blocks:
            self._add_blocks()
        self._flush()
        self._dump(
            {
                "end": end.members,
                "blocks": end.blocks,
                "digest": end.digest,
                "size": end.size,
                "checksum": end.checksum,
                "tar_size": end.tar_size,
                "tar_crc32": end.tar_crc32,
                "part_size": end.part_size,
                **({} if end.kept is None else {"kept": end.kept}),
                "sha256": self._hash.hexdigest(),
            }
        )
        self._flush()
        self._file.write(self._deflate.flush(isal_zlib.Z_FINISH))
        self._file.write(self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))
        self.close()

    def close(self) -> None:
        """Close the file, complete or not. Closing twice is harmless; leaving a `with` block closes too."""
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
        self._size += len(lines)
        self._file.write(self._deflate.compress(lines))
        # ISA-L leaves the upper halves of vector registers in use, which makes the formatting of numbers in this thread
        # twice as slow on CPUs of Intel. The crc32 of libdeflate ends by clearing them, so it comes last.
        self._crc = deflate.crc32(lines, self._crc)
