"""Writing an archive: the tree is read once, in order, and compressed block by block in threads."""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from mgmt.archive.blocks import BLOCK, HEADER, crc32_combine, new_buffer, pack, trailer
from mgmt.archive.header import end, pack_file, padding
from mgmt.archive.index_writer import IndexWriter
from mgmt.archive.kept import Ids, Kept
from mgmt.archive.member import Digest, Member, encode
from mgmt.archive.source import Found, Source
from mgmt.archive.tree import Skipped, Tree, header_of, mode_of, survey
from mgmt.choices import Level
from mgmt.errors import MgmtError, SourceChangedError
from mgmt.progress import Progress


@dataclass(frozen=True)
class Hashed:
    """The result of reading a tree; sizes in bytes.

    `digest` is the portable identity, and `kept` that of the owners and extended attributes that were asked for (see
    `Kept`): together they identify the content. `file_sha256` (hex) is set for a single file, `links` counts symbolic
    and hard links. `source_state` and `root_ctime_ns` are compared with those of a later `survey`.
    """

    digest: str
    kept: str
    file_sha256: str | None
    files: int
    folders: int
    links: int
    members: int
    original_size: int
    skipped: tuple[Skipped, ...]
    source_state: str
    root_ctime_ns: int


@dataclass(frozen=True)
class Archived(Hashed):
    """What was also written: an object of `size` bytes with `blocks` blocks, from `tar_size` bytes of tar."""

    tar_size: int
    tar_crc32: int
    size: int
    blocks: int


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How an archive is written: `threads` blocks are compressed at a time; owners and extended attributes are kept
    only if asked for.
    """

    level: Level = Level.FAST
    threads: int = 2
    owners: bool = False
    xattrs: bool = False


def write_archive(
    tree: Tree,
    sink: Callable[[bytes], None],
    index: IndexWriter,
    progress: Progress,
    options: WriteOptions = WriteOptions(),
) -> Archived:
    """Write the archive of `tree` to `sink`, in order, and its members and blocks to `index` (which stays open).

    `sink` is called in this thread and may block; memory is bounded by a few blocks per thread. `progress` advances by
    bytes of tar. Raises SourceChangedError, naming the file, when one changes while it is read; MgmtError when one
    cannot be read to its end; NotFoundError and RefusedError for the root (see Tree.walk); RefusedError for what could
    not be read again (`survey` reports it before anything is written).
    """
    source = Source(tree)
    summary = _Summary(source, owners=options.owners, xattrs=options.xattrs)
    with _Blocks(sink, index, progress, options) as blocks, closing(source.members()) as members:
        for found in members:
            attributes = source.xattrs(found) if options.xattrs else {}
            header = _packed(tree, found, attributes, owners=options.owners)
            header_offset = blocks.tar_size
            data_offset = header_offset + len(header)
            sha256 = None
            if found.type == "f":
                sha256 = blocks.write_file(header, source, found)
            else:
                blocks.write(header)
            index.add_member(summary.add(found, header_offset, data_offset, sha256, attributes))
        blocks.finish()
    return Archived(
        **vars(summary.hashed()), tar_size=blocks.tar_size, tar_crc32=blocks.crc, size=blocks.size, blocks=blocks.count
    )


def _packed(tree: Tree, found: Found, xattrs: Mapping[bytes, bytes], *, owners: bool) -> bytes:
    """All header records of a member. Raises RefusedError for what could not be read again."""
    if found.type == "f" and not (owners or xattrs):
        status = found.entry.stat
        packed = pack_file(encode(found.entry.name), status.st_mode & 0o7777, status.st_mtime_ns, status.st_size)
        if packed is not None:
            return packed
    header = header_of(found.entry, found.type, found.link, owners=owners, xattrs=xattrs)
    tree.check(header)
    return header.pack()


def hash_tree(tree: Tree, progress: Progress, *, owners: bool = False, xattrs: bool = False) -> Hashed:
    """Read and hash `tree` as `write_archive` does, with the same checks and errors, without writing anything.

    `progress` advances by bytes of content. An archive of the tree, with the same `owners` and `xattrs`, has the same
    `digest` and `kept`.
    """
    source = Source(tree)
    summary = _Summary(source, owners=owners, xattrs=xattrs)
    buffer = new_buffer()
    with closing(source.members()) as members:
        for found in members:
            sha256 = None
            attributes = source.xattrs(found) if xattrs else {}
            if found.type == "f":
                hasher = hashlib.sha256()
                left = found.entry.stat.st_size
                while left:
                    count = source.read_into(found, buffer[: min(left, BLOCK)])
                    hasher.update(buffer[:count])
                    left -= count
                    progress.advance(count)
                sha256 = hasher.digest()
            summary.add(found, 0, 0, sha256, attributes)
    return summary.hashed()


def look_again(tree: Tree, seen: Hashed) -> None:
    """Raise SourceChangedError if anything in `tree` changed, appeared or vanished since it was read."""
    now = survey(tree)
    if (now.source_state, now.root_ctime_ns) != (seen.source_state, seen.root_ctime_ns):
        raise SourceChangedError(
            f"{tree.root} changed while it was read", next_step="run it again when nothing writes to it"
        )


class _Summary:
    """Collects what was read so far."""

    def __init__(self, source: Source, *, owners: bool, xattrs: bool) -> None:
        self._source = source
        self._owners = owners
        self._xattrs = xattrs
        self._digest = Digest()
        self._kept = Kept()
        self._root: Member | None = None
        self._members = 0

    def add(
        self,
        found: Found,
        header_offset: int,
        data_offset: int,
        sha256: bytes | None,
        xattrs: Mapping[bytes, bytes],
    ) -> Member:
        entry, kind, link, _ = found
        status = entry.stat
        member = Member(
            entry.name,
            kind,
            mode_of(entry, kind),
            status.st_mtime_ns,
            status.st_size if kind == "f" else 0,
            header_offset,
            data_offset,
            sha256,
            link,
        )
        self._digest.add(member)
        if self._owners or self._xattrs:
            self._kept.add(member, Ids(status.st_uid, status.st_gid), xattrs)
        self._root = self._root or member
        self._members += 1
        return member

    def hashed(self) -> Hashed:
        tally, skipped = self._source.tally, self._source.skipped
        if self._root is None:
            raise MgmtError(f"{skipped[0].path} cannot be archived: {skipped[0].reason}")
        return Hashed(
            digest=self._digest.hexdigest(),
            kept=self._kept.tokens(owners=self._owners, xattrs=self._xattrs),
            file_sha256=self._root.sha256.hex() if self._root.sha256 else None,
            files=tally.files,
            folders=tally.folders,
            links=tally.links,
            members=self._members,
            original_size=tally.size,
            skipped=tuple(skipped),
            source_state=tally.state(),
            root_ctime_ns=tally.root_ctime_ns,
        )


class _Blocks:
    """Splits the tar into blocks, packs them in threads, and passes them on in order. Buffers are reused."""

    def __init__(
        self, sink: Callable[[bytes], None], index: IndexWriter, progress: Progress, options: WriteOptions
    ) -> None:
        self.tar_size = self.size = self.count = self.crc = 0
        self._sink = sink
        self._level = options.level
        self._index = index
        self._progress = progress
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="mgmt-pack")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="mgmt-hash")
        self._in_flight: deque[tuple[Future[tuple[tuple[bytes, ...], int]], memoryview, int]] = deque()
        self._most_in_flight = 2 * options.threads + 1
        self._free: list[memoryview] = []
        self._buffer = new_buffer()
        self._filled = 0

    def __enter__(self) -> Self:
        self._send(HEADER)
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._hasher.shutdown(cancel_futures=True)

    def write(self, data: bytes) -> None:
        """Append headers or padding."""
        start = 0
        while start < len(data):
            count = min(len(data) - start, BLOCK - self._filled)
            self._buffer[self._filled : self._filled + count] = data[start : start + count]
            self._advance(count)
            start += count

    def write_file(self, header: bytes, source: Source, found: Found) -> bytes:
        """Append the header and the content of a file, which is read here; return the sha256 of the content."""
        size = found.entry.stat.st_size
        start = self._filled + len(header)
        end = start + size
        padded = end + padding(size)
        if padded >= BLOCK:
            self.write(header)
            sha256 = self._copy(source, found, size)
            self.write(bytes(padding(size)))
            return sha256
        content = self._buffer[start:end]
        count = 0
        while count < size:
            count += source.read_into(found, content[count:])
        self._buffer[self._filled : start] = header
        self._buffer[end:padded] = bytes(padded - end)
        self.tar_size += padded - self._filled
        self._filled = padded
        return hashlib.sha256(content).digest()

    def _copy(self, source: Source, found: Found, size: int) -> bytes:
        """Append the content of a file of `size` bytes; return its sha256."""
        hasher = hashlib.sha256()
        in_thread = size >= 2 * BLOCK
        hashing: Future[None] | None = None
        while size:
            room = self._buffer[self._filled : self._filled + size]
            count = source.read_into(found, room)
            if in_thread:
                # One piece is hashed while the next is read. Its buffer is not reused before that, since blocks are
                # returned in order and a later one is still in flight.
                if hashing is not None:
                    hashing.result()
                hashing = self._hasher.submit(hasher.update, room[:count])
            else:
                hasher.update(room[:count])
            self._advance(count)
            size -= count
        if hashing is not None:
            hashing.result()
        return hasher.digest()

    def finish(self) -> None:
        """Finish the tar and the object."""
        self.write(bytes(end(self.tar_size)))
        if self._filled:
            self._pack()
        while self._in_flight:
            self._emit()
        self._send(trailer(self.crc, self.tar_size))

    def _advance(self, count: int) -> None:
        self.tar_size += count
        self._filled += count
        if self._filled == BLOCK:
            self._pack()

    def _pack(self) -> None:
        future = self._pool.submit(pack, self._buffer[: self._filled], self._level)
        self._in_flight.append((future, self._buffer, self._filled))
        self._progress.advance(self._filled)
        if len(self._in_flight) > self._most_in_flight:
            self._emit()
        self._buffer = self._free.pop() if self._free else new_buffer()
        self._filled = 0

    def _emit(self) -> None:
        future, buffer, size = self._in_flight.popleft()
        pieces, crc = future.result()
        self._free.append(buffer)
        self.crc = crc32_combine(self.crc, crc, size)
        self.count += 1
        self._index.add_block(sum(map(len, pieces)), crc)
        for piece in pieces:
            self._send(piece)

    def _send(self, piece: bytes) -> None:
        self.size += len(piece)
        self._sink(piece)
