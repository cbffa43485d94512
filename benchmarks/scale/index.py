"""The index of an archive of one file that no disk holds: `python -m benchmarks.scale index BYTES`.

It is written block by block with random checksums, read again, and its last whole block is read through it, from
an object that exists only there. The header of the file is read by Python's tarfile and by mgmt.
"""

import io
import json
import os
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import deflate

from benchmarks.scale.stream import KEY, MAX_PARTS, peak
from mgmt.archive import BLOCK, HEADER, Index, IndexEnd, IndexHeader, IndexWriter, largest_object
from mgmt.archive.blocks import pack, trailer
from mgmt.archive.header import Header
from mgmt.archive.member import Member
from mgmt.archive.reader import read_range
from mgmt.archive.tar_stream import read_members
from mgmt.choices import Level
from mgmt.storage.multipart import plan_part_size

TIME = 1_700_000_000_123_456_789


def main(size: int) -> None:
    """Print a line of JSON with what it took."""
    header = Header("large", "f", 0o644, TIME, size).pack()
    with tarfile.open(fileobj=io.BytesIO(header)) as tar:
        first = tar.next()
        assert first is not None
        assert first.size == size
    member, _ = next(read_members(_endless(header)))
    assert (member.size, member.mtime_ns) == (size, TIME)
    tar_size = len(header) + -(-size // 512) * 512 + 1024
    content = os.urandom(BLOCK)
    (packed,), crc = pack(content, Level.FAST)
    blocks = -(-tar_size // BLOCK)
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="mgmt-scale-") as folder:
        path, began = Path(folder) / "index", time.process_time()
        with IndexWriter(str(path), IndexHeader(KEY, "0" * 32, "/large", "nas", "ann", "", "fast", "isal")) as index:
            index.add_member(Member("large", "f", 0o644, TIME, size, 0, len(header), bytes(32), None))
            last = size // BLOCK - 1  # the last whole one
            for number in range(blocks):
                index.add_block(len(packed), crc if number == last else chance.getrandbits(32))
            object_size = len(HEADER) + blocks * len(packed) + len(trailer(0, 0))
            index.finish(IndexEnd(1, blocks, "0" * 64, object_size, "", tar_size, 0, 0, ""))
        written = time.process_time() - began
        found = Index.open(str(path), object_size=object_size)
        opened = time.process_time() - began - written
        asked: list[tuple[int, int]] = []

        def fetch(start: int, end: int) -> bytes:
            asked.append((start, end))
            return packed

        (piece,) = read_range(found, fetch, 1, last * BLOCK, last * BLOCK + 100)
        assert piece == content[:100]
        assert deflate.crc32(content) == found.crcs[last]
        facts = {
            "blocks": blocks, "tar": tar_size, "object": object_size, "index": path.stat().st_size, "written": written,
            "opened": opened, "last block": asked[0][0], "peak_rss": peak(),
            "part size": plan_part_size(largest_object(tar_size), MAX_PARTS),
        }  # fmt: skip
    print(json.dumps(facts))


def _endless(header: bytes) -> Iterator[bytes]:
    yield header
    while True:
        yield bytes(BLOCK)


if __name__ == "__main__":
    main(int(float(sys.argv[1])))
