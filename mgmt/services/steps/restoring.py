"""Restore the members of an archive, or the tar.gz itself, into a folder: proven, and all or nothing."""

import os
import posixpath
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from mgmt.archive import (
    Data,
    Extracted,
    Index,
    Limits,
    Wanted,
    digest_members,
    extract,
    fsync_folder,
    give_name,
    inflate,
    partial_name,
    read_blocks,
    read_members,
    read_selection,
    select,
)
from mgmt.catalog import DownloadRecord, Status
from mgmt.choices import OnConflict
from mgmt.errors import ConflictError, IntegrityError
from mgmt.paths import split_name
from mgmt.progress import NoProgress, Progress
from mgmt.services.steps.indexes import find_index, open_index
from mgmt.services.steps.local_files import token
from mgmt.services.steps.resolve import Archive
from mgmt.services.steps.thaw import ThawOptions
from mgmt.signals import finish_first
from mgmt.storage import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """What the user may choose for a download. `to` is a folder; it is created if it is missing."""

    to: str = "."
    name: str | None = None
    """The name to restore as; by default that in the archive."""
    member: str | None = None
    archive: bool = False
    on_conflict: OnConflict = OnConflict.ERROR
    skip_unsupported: bool = False
    threads: int = 4
    thaw: ThawOptions = field(default_factory=ThawOptions)
    """How to thaw the archive if it is frozen."""
    mhl: bool = False
    """Append a generation to the media hash lists of a restored folder."""
    wait: bool = False
    """Wait until it can be read."""


@dataclass(frozen=True, slots=True)
class Restoring:
    """One archive on its way to `folder`; `record` is told what became of it."""

    record: DownloadRecord
    found: Archive
    stored: StoredObject
    folder: str
    options: DownloadOptions
    progress: Progress

    def members(self) -> None:
        """Restore all members, or one and what is below it: only the blocks that hold them are read, in parallel."""
        counting = threading.Lock()

        def fetch(start: int, end: int) -> bytes:
            data = self.found.store.read(self.found.key, start, end, etag=self.stored.etag)
            with counting:
                self.record.downloaded_size = (self.record.downloaded_size or 0) + len(data)
            return data

        with index_if_any(self.found, self.stored) as index:
            extracted = self._extract(index, fetch)
        self.record.local_path = self.record.result_path = extracted.path
        if left_out := extracted.unsupported:
            # What was restored is less than the archive holds, so it has not its digest.
            self.record.status = Status.PARTIAL
            self.record.error_message = f"{len(left_out)} left out wholly or in part, as {self.folder} cannot hold them"
            listed = [{"path": each.path, "reason": each.reason} for each in left_out[:1000]]
            self.record.details = {**self.record.details, "skipped": listed}
            return
        self.record.digest = extracted.digest
        self.record.checksum_local = extracted.file_sha256 or extracted.digest

    def _extract(self, index: Index | None, fetch: Callable[[int, int], bytes]) -> Extracted:
        key, threads, progress = self.found.key, self.options.threads, self.progress
        expected = expected_digest(self.found, index)
        member, limits = self.options.member, Limits()
        on_content: Progress = NoProgress()  # bytes are counted where they are read, except for a selection
        if index is None or not index.lengths:
            progress.start(f"download {key}", self.stored.size)
            tar: Iterable[Data] = inflate(self._counted_stream(), self.found.store.location(key))
            member = member.rstrip("/") if member is not None else None
            name = posixpath.basename(member) if member is not None else root_name(key)
            expected = expected if member is None else None
        elif member is not None:
            selection = select(index, member)
            expected, member, name = selection.digest, selection.path, selection.name
            limits = Limits(selection.members, selection.size)
            progress.start(f"download {name}", selection.size)
            on_content = progress
            tar = read_selection(index, selection, fetch, threads)
        else:
            progress.start(f"download {key}", index.end.tar_size)
            tar = _advancing(read_blocks(index, fetch, threads), progress)
            name = next(index.members()).path
            limits = Limits(index.end.members, index.end.tar_size)
        return extract(
            read_members(tar),
            self.folder,
            Wanted(
                free_name(self.folder, self.options.name or name, self.options.on_conflict),
                member,
                expected,
                limits,
                self.options.skip_unsupported,
                self._append_generation if self.options.mhl else None,
            ),
            token=token(self.record.operation_id),
            progress=on_content,
        )

    def _append_generation(self, root: str, name: str) -> None:
        from mgmt.services.steps.new_generation import append_generation  # only where it is asked for

        append_generation(root, name, self.progress)

    def archive(self) -> None:
        """Bring the tar.gz itself; it gets its name when everything in it has been compared."""
        found, folder = self.found, self.folder
        path = os.path.join(folder, free_name(folder, posixpath.basename(found.key), self.options.on_conflict))
        temporary = os.path.join(folder, partial_name(token(self.record.operation_id)))
        with index_if_any(found, self.stored) as index:
            expected = expected_digest(found, index)
        self.progress.start(f"download {found.key}", self.stored.size)
        try:
            with open(temporary, "xb") as file:
                chunks = self._counted_stream()
                contents = digest_members(inflate(_written(chunks, file), found.store.location(found.key)))
                for chunk in chunks:  # what follows the end of the tar
                    file.write(chunk)
                if expected not in (None, contents.digest):
                    raise IntegrityError(f"{found.store.location(found.key)} does not hold what was archived")
                file.flush()
                os.fsync(file.fileno())
            finish_first()
            give_name(temporary, path)
            fsync_folder(folder)
        finally:
            if os.path.lexists(temporary):
                os.unlink(temporary)
        self.record.local_path = self.record.result_path = path
        self.record.digest = self.record.checksum_local = contents.digest

    def _counted_stream(self) -> Iterator[bytes]:
        for chunk in self.found.store.stream(self.found.key, etag=self.stored.etag):
            self.record.downloaded_size = (self.record.downloaded_size or 0) + len(chunk)
            self.progress.advance(len(chunk))
            yield chunk


def _written(chunks: Iterable[bytes], file: BinaryIO) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        yield chunk


def free_name(folder: str, name: str, on_conflict: OnConflict) -> str:
    """The name to restore as. Raises ConflictError, before anything is read."""
    if not os.path.lexists(os.path.join(folder, name)):
        return name
    if on_conflict != OnConflict.RENAME:
        raise ConflictError(
            f"{os.path.join(folder, name)} exists, and nothing is ever overwritten",
            next_step="mgmt download --on-conflict rename ...\n# or: --to DIR",
        )
    stem, suffix = split_name(name)
    number = 2
    while os.path.lexists(os.path.join(folder, candidate := f"{stem}-{number}{suffix}")):
        number += 1
    return candidate


def root_name(key: str) -> str:
    """The name to restore an archive without an index as: its root is unknown before it is read."""
    return posixpath.basename(key).removesuffix(".tar.gz")


def expected_digest(found: Archive, index: Index | None) -> str | None:
    """The digest of what the archive must hold, according to the catalog and its index, which must agree."""
    recorded = found.record.digest if found.record is not None else None
    indexed = index.end.digest if index is not None else None
    if recorded and indexed and recorded != indexed:
        raise IntegrityError(
            f"{found.store.location(found.key)}: its index has the digest {indexed[:12]}, the catalog {recorded[:12]}",
            next_step=f"mgmt verify --read-back {found.word}",
        )
    return recorded or indexed


def _advancing(tar: Iterable[Data], progress: Progress) -> Iterator[Data]:
    """Advance by the bytes of the tar, as the total is: with small files, headers are much of it."""
    for piece in tar:
        progress.advance(len(piece))
        yield piece


@contextmanager
def index_if_any(found: Archive, stored: StoredObject) -> Iterator[Index | None]:
    """The index of the archive; None when the store has none."""
    key = find_index(found.store, stored)
    if key is None:
        yield None
        return
    size = found.record.size if found.record is not None else None
    with open_index(found.store, key, stored.size if size is None else size) as index:
        yield index
