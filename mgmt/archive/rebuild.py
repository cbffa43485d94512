"""Rebuilding the index of an archive by reading it once from start to end."""

import re
import zlib
from array import array
from collections.abc import Iterable, Iterator

import deflate

from mgmt.archive.blocks import BLOCK, HEADER, Data, trailer
from mgmt.archive.index_lines import IndexEnd
from mgmt.archive.index_writer import IndexWriter
from mgmt.archive.inflate import inflate, slices
from mgmt.archive.reader import digest_members
from mgmt.errors import IntegrityError

_SYNC = re.compile(rb"\0\0\xff\xff")
_FINAL = b"\x03\0"


def rebuild_index(chunks: Iterable[Data], writer: IndexWriter, *, checksum: str = "", part_size: int = 0) -> IndexEnd:
    """Write the whole index of the archive with the bytes `chunks`, and finish `writer`.

    The index has the same members and blocks as the one written with the archive; a tar.gz of another tool gets members
    and no blocks. `checksum` and `part_size` are passed on (see IndexEnd); `kept` is what the archive evidently keeps
    (see Contents). Raises IntegrityError when the bytes are not a tar.gz, damaged or truncated.
    """
    archive = _Archive(chunks)
    contents = digest_members(archive.tar(), writer.add_member)
    for length, crc in zip(archive.lengths, archive.crcs, strict=True):
        writer.add_block(length, crc)
    end = IndexEnd(
        members=contents.members,
        blocks=len(archive.lengths),
        digest=contents.digest,
        size=archive.size,
        checksum=checksum,
        tar_size=archive.tar_size,
        tar_crc32=archive.tar_crc32,
        part_size=part_size,
        kept=contents.kept,
    )
    writer.finish(end)
    return end


class _Archive:
    """Inflates an archive, and finds its blocks."""

    def __init__(self, chunks: Iterable[Data]) -> None:
        self.size = self.tar_size = self.tar_crc32 = 0
        self.lengths, self.crcs = array("I"), array("I")
        self._chunks = self._counted(chunks)

    def tar(self) -> Iterator[bytes]:
        """The tar; once it is exhausted, the attributes are complete."""
        start = b""
        for chunk in self._chunks:
            start += chunk
            if len(start) >= len(HEADER):
                break
        ours = start.startswith(HEADER)
        pieces = self._blocks(start[len(HEADER) :]) if ours else inflate(self._from(start))
        for piece in pieces:
            self.tar_size += len(piece)
            self.tar_crc32 = deflate.crc32(piece, self.tar_crc32)
            yield piece

    def _counted(self, chunks: Iterable[Data]) -> Iterator[bytes]:
        for data in slices(chunks):
            self.size += len(data)
            yield data

    def _from(self, start: bytes) -> Iterator[bytes]:
        yield start
        yield from self._chunks

    def _blocks(self, start: bytes) -> Iterator[bytes]:
        """Inflate blocks. A block ends at the last sync flush after which exactly its 1 MiB has been produced."""
        inflater = zlib.decompressobj(-15)
        done = 0  # bytes of deflate consumed
        begin = total = block_crc = 0
        rest = b""

        def feed(data: bytes) -> bytes:
            nonlocal done, total, block_crc
            try:
                piece = inflater.decompress(data)
            except zlib.error as error:
                raise IntegrityError(f"the archive is damaged: {error}") from error
            done += len(data)
            total += len(piece)
            block_crc = deflate.crc32(piece, block_crc)
            return piece

        for chunk in self._from(start):
            data = rest + chunk
            at = 0
            for sync in _SYNC.finditer(data):
                yield feed(data[at : sync.end()])
                at = sync.end()
                full = total == BLOCK * (len(self.lengths) + 1)
                again = total and total == BLOCK * len(self.lengths)
                if (full or again) and _between_blocks(inflater):
                    if full:
                        self.lengths.append(0)
                        self.crcs.append(block_crc)
                        block_crc = 0
                    else:
                        begin -= self.lengths[-1]
                    self.lengths[-1] = done - begin
                    begin = done
            keep = min(3, len(data) - at)  # a sync flush may continue in the next chunk
            yield feed(data[at : len(data) - keep])
            rest = data[len(data) - keep :]
        yield feed(rest)
        if not inflater.eof:
            raise IntegrityError("the archive is truncated")
        if inflater.unused_data != trailer(self.tar_crc32, total)[len(_FINAL) :]:
            raise IntegrityError("the archive is corrupt: crc32 or size mismatch")
        end = done - len(inflater.unused_data) - len(_FINAL)
        if end > begin:
            self.lengths.append(end - begin)
            self.crcs.append(block_crc)


def _between_blocks(inflater: "zlib._Decompress") -> bool:
    """Whether the stream could end here. The bytes of a sync flush also occur in data and in block headers."""
    copy = inflater.copy()
    try:
        return copy.decompress(_FINAL) == b"" and copy.eof
    except zlib.error:
        return False
