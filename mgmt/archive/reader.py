"""Reading an archive, or only the blocks that are needed, as tar and as members."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import deflate

from mgmt.archive.blocks import HEADER, Data, crc32_combine, trailer, unpack
from mgmt.archive.index import Index
from mgmt.archive.kept import Kept
from mgmt.archive.member import Digest, Member
from mgmt.archive.tar_stream import read_members
from mgmt.errors import IntegrityError, NotFoundError

Fetch = Callable[[int, int], bytes]
"""Returns the bytes of the object from the first offset up to, not including, the second."""

_AT_ONCE = 6  # blocks per request: fewer mean more requests, more mean more memory, twice that much per thread


class Contents(NamedTuple):
    """What an archive holds: its digest in hex, the number of members and the bytes of their content.

    `owners` and `xattrs` are the tokens of what the tar contains (see `Kept`), whether or not it was asked to keep it.
    `kept` has those that are evident from the tar: `owners` when any owner is named or not 0, `xattrs` when there are
    any.
    """

    digest: str
    members: int
    original_size: int
    owners: str
    xattrs: str
    kept: str

    def holds(self, kept: str) -> bool:
        """Whether the archive holds each token of `kept`."""
        return all(token in (self.owners, self.xattrs) for token in kept.split())


def read_member(index: Index, member: Member, fetch: Fetch, threads: int = 1) -> Iterator[Data]:
    """The content of one file, or of the file that a hard link refers to, in pieces of at most 1 MiB.

    Only the blocks that hold it are fetched (see `read_range`). Raises IntegrityError when one is damaged or, after
    the last piece, on a sha256 mismatch; NotFoundError for an archive without blocks.
    """
    if member.type == "h":
        member = index.find(member.link or "")
    if not member.size:
        return
    hasher = hashlib.sha256()
    for piece in read_range(index, fetch, threads, member.data_offset, member.data_offset + member.size):
        hasher.update(piece)
        yield piece
    if hasher.digest() != member.sha256:
        raise IntegrityError(f"{member.path} in {index.header.key} is corrupt: sha256 mismatch")


def read_blocks(index: Index, fetch: Fetch, threads: int) -> Iterator[Data]:
    """The whole tar, block by block, fetched and inflated in `threads` threads with bounded memory.

    Every byte of the object is fetched and checked. Raises IntegrityError when it is damaged; NotFoundError for an
    archive without blocks.
    """
    if not index.lengths:
        raise NotFoundError(f"{index.header.key} has no blocks and can only be read from its start")
    key, end = index.header.key, index.end
    last = index.block_offset(end.blocks)
    if fetch(0, len(HEADER)) != HEADER or fetch(last, end.size) != trailer(end.tar_crc32, end.tar_size):
        raise IntegrityError(f"{key} is corrupt: it does not begin or end as its index states")
    crc = size = 0
    for number, data in _ordered(index, fetch, threads, 0, end.blocks):
        crc = crc32_combine(crc, index.crcs[number], len(data))
        size += len(data)
        yield data
    if (crc, size) != (end.tar_crc32, end.tar_size):
        raise IntegrityError(f"{key} is corrupt: crc32 or size mismatch")


def read_range(index: Index, fetch: Fetch, threads: int, start: int, end: int) -> Iterator[Data]:
    """The tar from offset `start` up to, not including, `end`. Only the blocks that hold it are fetched.

    Raises IntegrityError when one of them is damaged; NotFoundError for an archive without blocks.
    """
    if not index.lengths:
        raise NotFoundError(f"{index.header.key} has no blocks and can only be read from its start")
    block_size = index.header.block_size
    first, stop = start // block_size, -(-end // block_size)
    if stop > len(index.lengths):
        raise IntegrityError(f"the index of {index.header.key} has members beyond the end of the archive")
    for number, data in _ordered(index, fetch, threads, first, stop):
        offset = number * block_size
        yield memoryview(data)[max(start - offset, 0) : end - offset]


def _ordered(index: Index, fetch: Fetch, threads: int, first: int, stop: int) -> Iterator[tuple[int, bytearray]]:
    """Blocks `first` up to, not including, `stop`, numbered; fetched in `threads` threads with bounded memory."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mgmt-fetch")
    in_flight: deque[tuple[int, Future[list[bytearray]]]] = deque()
    groups = iter(range(first, stop, _AT_ONCE))
    try:
        while True:
            while len(in_flight) <= threads and (group := next(groups, None)) is not None:
                in_flight.append((group, pool.submit(_fetch_blocks, index, fetch, group, min(group + _AT_ONCE, stop))))
            if not in_flight:
                break
            group, future = in_flight.popleft()
            yield from enumerate(future.result(), group)
    finally:
        pool.shutdown(cancel_futures=True)


def digest_members(tar: Iterable[Data], on_member: Callable[[Member], None] | None = None) -> Contents:
    """Hash every member. `on_member` is called with each member including its sha256."""
    digest, kept = Digest(), Kept()
    count = size = 0
    owned = False
    for member, content in read_members(tar):
        kept.add(member, content.ids(), content.xattrs() if member.type in "fd" else {})
        owned = owned or content.is_owned()
        if member.type == "f":
            hasher = hashlib.sha256()
            for piece in content:
                hasher.update(piece)
            member = member.with_sha256(hasher.digest())
        digest.add(member)
        count += 1
        size += member.size
        if on_member is not None:
            on_member(member)
    return Contents(
        digest.hexdigest(),
        count,
        size,
        owners=kept.tokens(xattrs=False),
        xattrs=kept.tokens(owners=False),
        kept=kept.tokens(owners=owned, xattrs=kept.has_xattrs),
    )


def _fetch_blocks(index: Index, fetch: Fetch, first: int, stop: int) -> list[bytearray]:
    """Blocks `first` up to, not including, `stop`."""
    start = at = index.block_offset(first)
    raw = memoryview(fetch(start, index.block_offset(stop)))
    key, block_size, tar_size = index.header.key, index.header.block_size, index.end.tar_size
    blocks: list[bytearray] = []
    for number in range(first, stop):
        piece = raw[at - start : at - start + index.lengths[number]]
        at += index.lengths[number]
        data = unpack(piece, min(block_size, tar_size - number * block_size))
        if deflate.crc32(data) != index.crcs[number]:
            raise IntegrityError(f"block {number} of {key} is corrupt: crc32 mismatch")
        blocks.append(data)
    return blocks
