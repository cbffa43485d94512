"""Writing files in threads, while every member is passed on in the order of the archive."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from mgmt.archive.blocks import Data
from mgmt.archive.member import Member
from mgmt.archive.restored_file import File
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
        self.above: object = None
        self.size = 0
        self.written: Future[None] | None = None

    def write(self) -> None:
        for file, pieces in self.files:
            file.write(pieces)

    def close(self) -> None:
        while self.folders:
            os.close(self.folders.pop())


class FileThreads:
    """Two threads that write files, batch by batch.

    `on_member` is called in the calling thread with each member, and with its file once that is written. An error of a
    thread is raised by the next call. Memory is bounded: at most 4 batches of about 1 MiB exist at a time.
    """

    def __init__(self, on_member: OnMember) -> None:
        self._on_member = on_member
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mgmt-write")
        self._batch = _Batch()
        self._pending: deque[_Batch] = deque()

    def write(self, file: File, member: Member, content: list[Data]) -> None:
        """Write `file` in a thread. Its folder is duplicated and need not stay open."""
        batch = self._batch
        if file.refusal is None:
            if batch.above != (above := file.place[:-1]):
                batch.folders.append(os.dup(file.folder))
                batch.above = above
            file.folder = batch.folders[-1]
        batch.files.append((file, content))
        self.add(member, file)

    def add(self, member: Member, file: File | None = None) -> None:
        """Pass on `member` when those before it are written."""
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
            for batch in (*self._pending, self._batch):
                batch.close()
            self._pending.clear()

    def _submit(self) -> None:
        batch = self._batch
        batch.written = self._pool.submit(batch.write)
        self._pending.append(batch)
        self._batch = _Batch()
        if len(self._pending) > _PENDING:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        batch = self._pending[0]
        if batch.written is not None:
            batch.written.result()
        for member, file in batch.members:
            self._on_member(member, file)
        batch.close()
        self._pending.popleft()
