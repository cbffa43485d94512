"""Writing files in threads, while every member is passed on in the order of the archive."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from mgmt.archive.blocks import Data
from mgmt.archive.member import Member
from mgmt.archive.restored_file import File, Parts
from mgmt.signals import held

AT_HAND = 1 << 20
"""Bytes of content up to which a file is written in a thread: it is held in memory until then."""

_THREADS = 2
_PENDING = _THREADS + 1  # batches that are written, and one that is next
_SIZE, _FOLDERS = 1 << 20, 32  # of a batch: bytes of tar, and descriptors

OnMember = Callable[[Member, File | None], None]


class _Batch:
    """Consecutive members, with the files among them and their content."""

    def __init__(self) -> None:
        self.members: list[tuple[Member, File | None]] = []
        self.files: list[tuple[File, list[Data]]] = []
        self.folders: list[int] = []
        self.above: Parts | None = None  # what the last of the folders is
        self.size = 0

    def write(self) -> None:
        for file, content in self.files:
            file.write(content)

    def close(self) -> None:
        """Close the folders. May be called twice."""
        while self.folders:
            os.close(self.folders.pop())


class FileThreads:
    """Two threads that write files, batch by batch.

    `on_member` is called in the calling thread with each member, and with its file once that is written. An error of a
    thread is raised by a later call, at the latest by `settle`. Memory is bounded: of at most 5 batches, each holds
    the members of 1 MiB of tar, and one more.
    """

    def __init__(self, on_member: OnMember) -> None:
        self._on_member = on_member
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mgmt-write")
        self._batch = _Batch()
        self._pending: deque[tuple[_Batch, Future[None]]] = deque()

    def write(self, file: File, member: Member, content: list[Data]) -> None:
        """Write `file` with this content in a thread. Its folder is duplicated and need not stay open."""
        batch = self._batch
        if file.refusal is None:
            if batch.above != (above := file.place[:-1]):
                batch.folders.append(os.dup(file.folder))
                batch.above = above
            file.folder = batch.folders[-1]
        batch.files.append((file, content))
        self.add(member, file)

    def add(self, member: Member, file: File | None = None) -> None:
        """Pass on `member` after those before it."""
        batch = self._batch
        batch.members.append((member, file))
        batch.size += member.data_offset + member.size - member.header_offset
        if batch.size >= _SIZE or len(batch.folders) == _FOLDERS:
            self._submit()

    def settle(self) -> None:
        """Wait until all files are written, and pass on all members."""
        if self._batch.members:
            self._submit()
        while self._pending:
            self._finish_oldest()

    def close(self) -> None:
        """Let the threads end, so that nothing is written any more. May be called at any time."""
        with held():
            self._pool.shutdown(cancel_futures=True)
            for batch, _ in self._pending:
                batch.close()
            self._batch.close()

    def _submit(self) -> None:
        self._pending.append((self._batch, self._pool.submit(self._batch.write)))
        self._batch = _Batch()
        if len(self._pending) > _PENDING:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        batch, written = self._pending[0]
        written.result()
        for member, file in batch.members:
            self._on_member(member, file)
        batch.close()
        self._pending.popleft()
