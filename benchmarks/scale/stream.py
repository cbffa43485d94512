"""A file of 10 TB, and a tree of ten million files, from a generated source to the null sink: no disk is involved.

`python -m benchmarks.scale.stream file BYTES [PART_SIZE]` and `... tree FILES` run the real writer, compression,
hashes, index, multipart upload and boto3. `... jump BYTES` runs the writer, the index and the multipart upload over
that many bytes, but hashes and compresses only one block, and sends nothing. Each prints a line of JSON a step, and
one at the end.
"""

import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from benchmarks.scale.sources import Generated, ManyFiles, OneFile
from benchmarks.sink import null_sink
from mgmt.archive import (
    BLOCK,
    Index,
    IndexHeader,
    IndexWriter,
    Tree,
    WriteOptions,
    largest_object,
    write_archive,
    writer,
)
from mgmt.archive.blocks import pack
from mgmt.choices import Level
from mgmt.services.steps.indexes import finish_index
from mgmt.storage import OPERATION, Attributes, Sent, Transfer, open_store
from mgmt.storage.multipart import MultipartUpload, Part, plan_part_size
from mgmt.storage.part_data import PartData
from mgmt.storage.store import Capabilities, StoredObject

STEPS = 20
KEY = "large.tar.gz"
MAX_PARTS = 10_000


class Watch:
    """Progress that prints a line from time to time: what is done, how long the last step took, and the memory now."""

    def __init__(self, total: int) -> None:
        self._total, self._step, self._next = total, total // STEPS, total // STEPS
        self._done = 0
        self._before = time.monotonic(), time.process_time()
        self.steps: list[float] = []
        """CPU seconds of each step, which depend less on what else the machine does."""

    def start(self, task: str, total: int | None = None) -> None: ...

    def advance(self, count: int) -> None:
        self._done += count
        if self._done >= self._next:
            now = time.monotonic(), time.process_time()
            seconds, cpu = now[0] - self._before[0], now[1] - self._before[1]
            self._before = now
            self.steps.append(cpu)
            line = {"done": self._done, "seconds": seconds, "cpu": cpu, "rss": _resident()}
            print(json.dumps(line), flush=True)
            self._next += self._step

    def note(self, message: str) -> None: ...

    def stop(self) -> None: ...


def main(what: str, amount: int, part_size: int | None = None) -> None:
    """Run one of the three, and print what it took."""
    OneFile.size = ManyFiles.count = amount
    source: type[Generated] = ManyFiles if what == "tree" else OneFile
    content = sum(500 + number * 7919 % 3000 for number in range(amount)) if what == "tree" else amount
    tar_size = content + 2048 * (amount + 1) if what == "tree" else amount + 20 * 512
    watch = Watch(tar_size if what != "tree" else content + 1024 * amount)
    began, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="mgmt-scale-") as folder, patch.object(writer, "Source", source):
        path = Path(folder) / "index"
        run = _jump if what == "jump" else _send
        facts = run(Tree("/generated/large", "large"), path, tar_size, part_size, watch)
        facts["seconds"], facts["cpu"] = time.monotonic() - began, time.process_time() - cpu
        facts["peak_rss"] = peak()
        facts["index"] = path.stat().st_size
        facts["fastest step"], facts["slowest step"] = min(watch.steps), max(watch.steps)
        facts |= _reopened(path, facts["object"])
    print(json.dumps(facts))


def _send(tree: Tree, path: Path, tar_size: int, part_size: int | None, watch: Watch) -> dict[str, Any]:
    """To the null sink, as `mgmt upload` does."""
    with null_sink() as sink, patch.dict(os.environ, sink.environment):
        store = open_store("s3://bench/archive")
        transfer = Transfer(largest_object(tar_size), part_size)
        upload = store.start_upload(KEY, Attributes({OPERATION: "x", "mgmt-format": "1"}), transfer)
        facts = _write(tree, path, upload, watch)
        stored = upload.complete()
        upload.close()
        assert stored.size == facts["object"]
    return facts


def _jump(tree: Tree, path: Path, tar_size: int, _part_size: int | None, watch: Watch) -> dict[str, Any]:
    """Every block is the same one, which is packed once; no content is read or hashed, no part is sent."""
    block = memoryview(bytearray(os.urandom(BLOCK)))
    packed, _ = pack(block, Level.FAST)
    chance = random.Random(1)  # the index of a real file has another crc32 for each block
    size = plan_part_size(largest_object(tar_size), MAX_PARTS)
    upload = MultipartUpload(
        _Nowhere(), {}, Transfer(tar_size, size), Capabilities(checksum="crc64nvme", max_parts=MAX_PARTS), 4
    )

    def repeated(data: memoryview, level: Level) -> tuple[tuple[bytes, ...], int]:
        return (packed, chance.getrandbits(32)) if len(data) == BLOCK else pack(data, level)

    free = SimpleNamespace(sha256=lambda *_: _Unhashed())
    with (
        patch.object(writer, "pack", repeated),
        patch.object(writer, "hashlib", free),
        patch.object(OneFile, "read_into", lambda _self, _found, buffer: len(buffer)),
    ):
        facts = _write(tree, path, upload, watch)
    upload.close()
    return facts


def _write(tree: Tree, path: Path, upload: Any, watch: Watch) -> dict[str, Any]:
    header = IndexHeader(KEY, "0" * 32, tree.root, "nas", "ann", "2026-11-28T00:00:00Z", "fast", "isal")
    with IndexWriter(str(path), header) as index:
        archived = write_archive(tree, upload.write, index, watch, WriteOptions())
        sent: Sent = upload.finish()
        finish_index(index, archived, sent)
    return {
        "members": archived.members, "blocks": archived.blocks, "tar": archived.tar_size, "object": sent.size,
        "parts": sent.parts, "part_size": sent.part_size,
    }  # fmt: skip


def _reopened(path: Path, size: int) -> dict[str, Any]:
    """Read the index again, as a download does, and look up the last member and the block that holds its end."""
    began = time.monotonic()
    index = Index.open(str(path), object_size=size)
    opened = time.monotonic() - began
    last = None
    for last in index.members():  # noqa: B007 - the last one
        pass
    assert last is not None
    end = last.data_offset + last.size
    return {
        "index read again": opened,
        "all members read": time.monotonic() - began - opened,
        "end of the last member": end,
        "offset of its last block": index.block_offset((end - 1) // BLOCK),
        "peak_rss with the index": peak(),
    }


class _Unhashed:
    def update(self, _data: object) -> None: ...

    def digest(self) -> bytes:
        return bytes(32)

    def hexdigest(self) -> str:
        return "0" * 64


class _Nowhere:
    """An endpoint that takes every part."""

    where = "s3://nowhere/large"

    def begin(self) -> str:
        return "upload"

    def stored_parts(self, upload_id: str) -> Iterator[Any]:
        return iter(())

    def send(self, upload_id: str, number: int, data: PartData, checksum: bytes) -> str:
        return str(number)

    def complete(self, upload_id: str, parts: Sequence[Part], sent: Sent) -> None: ...

    def put(self, data: PartData, checksum: bytes) -> None: ...

    def head(self) -> StoredObject | None:
        return None

    def abort(self, upload_id: str) -> None: ...


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """The peak memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(float(sys.argv[2])), int(sys.argv[3]) if len(sys.argv) > 3 else None)
