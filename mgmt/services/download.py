"""Bring back an original from its archive, proven, all or nothing."""

import os
import posixpath
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from mgmt.archive import (
    Data,
    Index,
    Limits,
    Wanted,
    digest_members,
    extract,
    fsync_folder,
    inflate,
    make_folders,
    partial_name,
    read_blocks,
    read_members,
    read_selection,
    remove_partial,
    rename_noreplace,
    select,
)
from mgmt.catalog import Catalog, DownloadRecord, FileStatus, Location, Role, Status
from mgmt.errors import ConflictError, IntegrityError
from mgmt.paths import folder_to_make
from mgmt.progress import NoProgress, Progress
from mgmt.services.steps.indexes import find_index, open_index
from mgmt.services.steps.local_files import claim, describe, token
from mgmt.services.steps.overlaps import refuse_in_store
from mgmt.services.steps.proof import refuse_frozen
from mgmt.services.steps.resolve import Archive, OpenStore, find_archive
from mgmt.signals import finish_first
from mgmt.storage import StoredObject

_ELSEWHERE = "mgmt download --to DIR ...   (a folder outside of the store)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """What the user may choose for a download. `to` is a folder; it is made when it is missing."""

    to: str = "."
    member: str | None = None
    archive: bool = False
    on_conflict: str = "error"
    threads: int = 4


def download(
    name: str,
    options: DownloadOptions,
    *,
    open_store: OpenStore,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
    parent: str | None = None,
) -> DownloadRecord:
    """Bring back the archive that `name` means, or one member of it; returns the finished record.

    Nothing appears under its own name before all of it is proven; on any error nothing is left behind.
    """
    folder = folder_to_make(options.to)
    record = DownloadRecord(
        target_path=name, target_name=name, member=options.member, command_args=dict(command_args), parent_id=parent
    )
    wanted = os.path.join(folder, name.strip("/"), options.member or "")
    try:
        with catalog.journal.record(record, claim=claim(wanted)) as record:
            found = find_archive(name, open_store, catalog)
            stored = found.store.head(found.key)
            record.store, record.s3_bucket, record.s3_object_key = found.store.url, found.store.bucket, found.key
            record.s3_storage_class, record.checksum_s3_etag = stored.storage_class, stored.etag
            record.local_path = folder
            catalog.journal.checkpoint()
            refuse_frozen(found.store, stored)
            refuse_in_store(folder, "--to", found.store.url, next_step=_ELSEWHERE)
            make_folders(folder)
            remove_partial(folder, token(record.operation_id))  # of an interrupted run of this very operation
            try:
                if options.archive:
                    _bring_archive(record, found, stored, folder, options, progress)
                else:
                    _bring_members(record, found, stored, folder, options, progress)
            except ConflictError as exc:
                if options.on_conflict != "skip":
                    raise
                record.status, record.error_message = Status.CANCELLED, f"skipped: {exc.message}"
            else:
                result = describe(record.local_path, Location.LOCAL, FileStatus.COMPLETED)
                result.operation_id, result.digest = record.operation_id, record.digest
                result.checksum = record.checksum_local
                catalog.journal.link(record, catalog.metadata.save_file_record(result), Role.RESULT)
                if found.record is not None:
                    catalog.journal.link(record, found.record, Role.ARCHIVE)
            # Only now: by what was asked for, an interrupted download is found again.
            record.target_path, record.target_name = found.store.location(found.key), found.key
    finally:
        progress.stop()
    return record


def _bring_members(
    record: DownloadRecord,
    found: Archive,
    stored: StoredObject,
    folder: str,
    options: DownloadOptions,
    progress: Progress,
) -> None:
    """All members, or one and what is below it: only the blocks that hold them are read, several at a time."""

    def fetch(start: int, end: int) -> bytes:
        data = found.store.read(found.key, start, end, etag=stored.etag)
        with counting:
            record.downloaded_size = (record.downloaded_size or 0) + len(data)
        return data

    counting = threading.Lock()
    with _index_if_any(found, stored) as index:
        expected = _expected_digest(found, index)
        member, limits = options.member, Limits()
        on_content: Progress = NoProgress()  # what is read is counted where it is read, but for what is left out of it
        if index is None or not index.lengths:
            progress.start(f"download {found.key}", stored.size)
            tar: Iterable[Data] = inflate(_counted(record, found.store.stream(found.key, etag=stored.etag), progress))
            name = posixpath.basename(member.rstrip("/")) if member is not None else _root_name(found.key)
            expected = expected if member is None else None
        elif member is not None:
            selection = select(index, member)
            expected, member, name = selection.digest, selection.path, selection.name
            limits = Limits(selection.members, selection.size)
            progress.start(f"download {name}", selection.size)
            on_content = progress
            tar = read_selection(index, selection, fetch, options.threads)
        else:
            progress.start(f"download {found.key}", index.end.tar_size)
            tar = _advancing(read_blocks(index, fetch, options.threads), progress)
            name = next(index.members()).path
            limits = Limits(index.end.members, index.end.tar_size)
        extracted = extract(
            read_members(tar),
            folder,
            Wanted(_free_name(folder, name, options.on_conflict), member, expected, limits),
            token=token(record.operation_id),
            progress=on_content,
        )
    record.local_path = record.result_path = extracted.path
    record.digest = extracted.digest
    record.checksum_local = extracted.file_sha256 or extracted.digest


def _bring_archive(
    record: DownloadRecord,
    found: Archive,
    stored: StoredObject,
    folder: str,
    options: DownloadOptions,
    progress: Progress,
) -> None:
    """The tar.gz itself; it gets its name when all that is in it has been compared."""
    path = os.path.join(folder, _free_name(folder, posixpath.basename(found.key), options.on_conflict))
    temporary = os.path.join(folder, partial_name(token(record.operation_id)))
    with _index_if_any(found, stored) as index:
        expected = _expected_digest(found, index)
    progress.start(f"download {found.key}", stored.size)
    try:
        with open(temporary, "xb") as file:
            chunks = _counted(record, found.store.stream(found.key, etag=stored.etag), progress)
            contents = digest_members(inflate(_written(chunks, file)))
            for chunk in chunks:  # what follows the end of the tar
                file.write(chunk)
            if expected not in (None, contents.digest):
                raise IntegrityError(f"{found.store.location(found.key)} does not hold what was archived")
            file.flush()
            os.fsync(file.fileno())
        finish_first()
        rename_noreplace(temporary, path)
        fsync_folder(folder)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
    record.local_path = record.result_path = path
    record.digest = record.checksum_local = contents.digest


def _written(chunks: Iterable[bytes], file: BinaryIO) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        yield chunk


def _free_name(folder: str, name: str, on_conflict: str) -> str:
    """The name to restore as. Raises ConflictError before anything is read."""
    if not os.path.lexists(os.path.join(folder, name)):
        return name
    if on_conflict != "rename":
        raise ConflictError(
            f"{os.path.join(folder, name)} exists, and nothing is ever overwritten",
            next_step="mgmt download --on-conflict rename ...   (or: --to DIR)",
        )
    stem, suffix = os.path.splitext(name) if not name.startswith(".") else (name, "")
    number = 2
    while os.path.lexists(os.path.join(folder, candidate := f"{stem}-{number}{suffix}")):
        number += 1
    return candidate


def _root_name(key: str) -> str:
    """What an archive without an index is restored as: its root is not known before it is read."""
    return posixpath.basename(key).removesuffix(".tar.gz")


def _counted(record: DownloadRecord, chunks: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        record.downloaded_size = (record.downloaded_size or 0) + len(chunk)
        progress.advance(len(chunk))
        yield chunk


def _expected_digest(found: Archive, index: Index | None) -> str | None:
    """What the archive must hold, by the catalog's word and its index's, which must be the same."""
    recorded = found.record.digest if found.record is not None else None
    indexed = index.end.digest if index is not None else None
    if recorded and indexed and recorded != indexed:
        raise IntegrityError(
            f"{found.store.location(found.key)}: its index has the digest {indexed[:12]}, the catalog {recorded[:12]}",
            next_step=f"mgmt verify --read-back {found.key}",
        )
    return recorded or indexed


def _advancing(tar: Iterable[Data], progress: Progress) -> Iterator[Data]:
    """Of small files headers are much of the tar: progress is by its bytes, as its total is."""
    for piece in tar:
        progress.advance(len(piece))
        yield piece


@contextmanager
def _index_if_any(found: Archive, stored: StoredObject) -> Iterator[Index | None]:
    key = find_index(found.store, stored)
    if key is None:
        yield None
        return
    size = found.record.size if found.record is not None else None
    with open_index(found.store, key, stored.size if size is None else size) as index:
        yield index


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a download would do. `size` is the bytes that would be read."""

    type: str = "preview"
    object: str
    size: int
    requests: int
    to: str


def preview(name: str, options: DownloadOptions, *, open_store: OpenStore, catalog: Catalog) -> Preview:
    """What `download` would do with `name`, refusals included; changes nothing."""
    found = find_archive(name, open_store, catalog)
    stored = found.store.head(found.key)
    refuse_frozen(found.store, stored)
    folder = folder_to_make(options.to)
    refuse_in_store(folder, "--to", found.store.url, next_step=_ELSEWHERE)
    size, restored = stored.size, posixpath.basename(found.key) if options.archive else _root_name(found.key)
    with _index_if_any(found, stored) as index:
        if index is not None and index.lengths and not options.archive:
            restored = next(index.members()).path
            if options.member is not None:
                selection = select(index, options.member)
                first, last = (offset // index.header.block_size for offset in (selection.start, selection.end - 1))
                restored, size = selection.name, index.block_offset(last + 1) - index.block_offset(first)
    name = _free_name(folder, restored, options.on_conflict)
    return Preview(
        object=found.store.location(found.key), size=size, requests=4 + size // (6 << 20), to=os.path.join(folder, name)
    )
