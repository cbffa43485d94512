"""Archives for the tests: written, indexed, and in memory."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mgmt.archive import Archived, Index, IndexEnd, IndexHeader, IndexWriter, Tree, WriteOptions, write_archive
from mgmt.choices import DEFAULT_PART_SIZE, Level
from mgmt.progress import NoProgress


def header(key: str = "photos.tar.gz", *, owners: bool = False, xattrs: bool = False) -> IndexHeader:
    return IndexHeader(
        key=key,
        operation_id="0123456789ab",
        source="/data/photos",
        host="host",
        user="user",
        created_at="2026-01-02T03:04:05+00:00",
        level="fast",
        compressor="isal 1",
        owners=owners,
        xattrs=xattrs,
    )


@dataclass
class Written:
    """An archive with its index; `fetched` lists the ranges that were read."""

    archived: Archived
    object: bytes
    index: Index
    index_path: Path
    fetched: list[tuple[int, int]] = field(default_factory=list)

    def fetch(self, start: int, end: int) -> bytes:
        self.fetched.append((start, end))
        return self.object[start:end]


def write(
    tree: Tree,
    index_path: Path,
    *,
    level: Level = Level.FAST,
    threads: int = 2,
    owners: bool = False,
    xattrs: bool = False,
) -> Written:
    pieces: list[bytes] = []
    with IndexWriter(os.fspath(index_path), header(owners=owners, xattrs=xattrs)) as writer:
        archived = write_archive(
            tree, pieces.append, writer, NoProgress(), WriteOptions(level, threads, owners=owners, xattrs=xattrs)
        )
        end = IndexEnd(
            digest=archived.digest,
            size=archived.size,
            checksum="crc64nvme:AAAAAAAAAAA=",
            tar_size=archived.tar_size,
            tar_crc32=archived.tar_crc32,
            part_size=DEFAULT_PART_SIZE,
            members=archived.members,
            blocks=archived.blocks,
            kept=archived.kept,
        )
        writer.finish(end)
    return Written(archived, b"".join(pieces), Index.open(os.fspath(index_path)), index_path)


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def raw(path: Path, name: bytes) -> Path:
    """A path in a folder whose name is arbitrary bytes."""
    return Path(os.fsdecode(os.fsencode(path) + b"/" + name))


def set_times(paths: Iterable[Path], mtime_ns: int) -> None:
    for path in paths:
        os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)
