"""A store in a folder, without a server (see directory_layout.py). It has no storage classes and no tags."""

import fcntl
import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO, FileIO
from stat import S_ISREG
from typing import Any, BinaryIO, Self

from mgmt.choices import DEFAULT_PART_SIZE
from mgmt.errors import ConflictError, IntegrityError, NotFoundError, RefusedError, StoreUnavailableError
from mgmt.storage.beneath import (
    make_read_only,
    open_parent,
    open_root,
    open_shared,
    place,
    read_all,
    remove,
    remove_empty_parents,
    sha256_of_file,
    translated,
    write_new,
)
from mgmt.storage.directory_layout import (
    described,
    etag_of,
    moment,
    note_path,
    noted,
    parsed,
    put_id,
    upload_path,
    walk,
)
from mgmt.storage.directory_upload import DirectoryUpload
from mgmt.storage.etags import require_etag
from mgmt.storage.keys import ANCHORS, HISTORY, OWN, check_key
from mgmt.storage.publish import CHUNK, CONTENT, is_same, sha256_of
from mgmt.storage.store import Attributes, Capabilities, Lock, PendingUpload, Sent, StoredObject, Transfer

_HALF = ".partial"

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class DirectoryStore:
    """See `mgmt.storage.open_store`."""

    bucket: str | None = None
    versions = None
    """A folder keeps nothing of what was removed."""
    locks = None
    """Whoever owns a file can remove it."""

    def __init__(self, path: str, before_removal: Callable[[], None]) -> None:
        self.path = os.path.normpath("/" + path.lstrip("/"))
        self.url = f"file://{self.path}"
        self._before_removal = before_removal
        self._own = threading.local()
        """The last `lock` of this thread, if any."""

    def capabilities(self) -> Capabilities:
        """No checksum: a file system offers none, so archives are read back."""
        return Capabilities(checksum=None)

    def location(self, key: str) -> str:
        """`file:///directory/key`."""
        return f"{self.url}/{key}"

    def head(self, key: str) -> StoredObject:
        """Raise NotFoundError when there is no such file."""
        with translated(self.location(key)), self._parent(check_key(key)) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not S_ISREG(status.st_mode):
                raise NotFoundError(f"{self.location(key)} is not a file")
            note = self._note(key)
        metadata = note["metadata"] if note.get("size") == status.st_size else {}
        return described(key, status, metadata)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every file below the directory, except those in `.mgmt` and symlinks."""
        with translated(self.url), suppress(FileNotFoundError), open_root(self.path, create=False) as root:
            yield from walk(root, "", prefix)

    def start_upload(self, key: str, attributes: Attributes, transfer: Transfer) -> DirectoryUpload:
        """Begin to write one object. Each new upload calls `on_started`, before anything is on disk."""
        size = transfer.part_size or transfer.resume_part_size or DEFAULT_PART_SIZE
        transfer = replace(transfer, part_size=size)
        where, upload_id = self.location(check_key(key)), transfer.resume or ""
        with translated(where):
            descriptor = self._open_existing(upload_id)
        if descriptor is None:
            self.abort(key, upload_id)  # a killed process may have left only one of its two files
            upload_id = secrets.token_hex(16)
            if transfer.on_started is not None:
                transfer.on_started(upload_id, transfer.part_size or DEFAULT_PART_SIZE)
            with translated(where):
                descriptor = self._create_upload(key, upload_id)
        return self._upload(descriptor, key, upload_id, attributes.metadata, transfer)

    def prove(self, key: str, sent: Sent) -> str | None:
        """None if the size matches, which proves nothing."""
        size = self.head(key).size
        if size != sent.size:
            raise IntegrityError(f"the store holds {size} bytes of {self.location(key)}, but {sent.size} were sent")
        return None

    def put(
        self, key: str, data: BinaryIO, *, size: int, metadata: Mapping[str, str], lock: Lock | None = None
    ) -> StoredObject:
        """Store the `size` bytes of `data`. Storing the same content again in the same operation is no conflict."""
        _refuse_lock(self.url, lock)
        own = {**metadata, CONTENT: sha256_of(data)}
        upload_id = put_id(check_key(key))
        self.abort(key, upload_id)
        with translated(self.location(key)):
            descriptor = self._create_upload(key, upload_id)
        upload = self._upload(descriptor, key, upload_id, own, Transfer(size))
        try:
            data.seek(0)
            while chunk := data.read(CHUNK):
                upload.write(chunk)
            return upload.complete()
        except BaseException:
            upload.abort()
            raise

    def anchor(self, name: str, data: bytes, *, lock: Lock | None = None) -> StoredObject:
        """A read-only file in `.mgmt/anchors`."""
        _refuse_lock(self.url, lock)
        return self._keep(ANCHORS + check_key(name), BytesIO(data))

    def keep(self, name: str, data: BinaryIO, *, size: int) -> StoredObject:
        """A read-only file in `.mgmt/history`."""
        return self._keep(HISTORY + check_key(name), data)

    def _keep(self, path: str, data: BinaryIO) -> StoredObject:
        digest = sha256_of(data)
        with translated(self.location(path)):
            with self._parent(path, create=True):
                pass
            with self._locked() as root, open_parent(root, path) as (folder, leaf):
                try:
                    if sha256_of_file(folder, leaf) != digest:
                        raise ConflictError(f"{self.location(path)} already exists")
                except FileNotFoundError:
                    remove(folder, _HALF)  # left by a killed process
                    data.seek(0)
                    write_new(folder, _HALF, iter(partial(data.read, CHUNK), b""))
                    if sha256_of_file(folder, _HALF) != digest:
                        remove(folder, _HALF)
                        raise IntegrityError(f"{self.location(path)} was corrupted while it was written") from None
                    make_read_only(folder, _HALF)
                    place((folder, _HALF), (folder, leaf))
                    remove(folder, _HALF)
                return described(path, os.stat(leaf, dir_fd=folder), {})

    def anchors(self) -> Iterator[str]:
        """The names of the files there, sorted."""
        with translated(self.url), suppress(FileNotFoundError), self._parent(ANCHORS + _HALF) as (folder, half):
            yield from sorted(name for name in os.listdir(folder) if name != half)

    def read(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        """Raise IntegrityError when the file is shorter, or was replaced."""
        if end <= start:
            return b""
        with translated(self.location(key)), self._opened(key, etag) as (descriptor, _):
            data = os.pread(descriptor, end - start, start)
            while len(data) < end - start and (
                more := os.pread(descriptor, end - start - len(data), start + len(data))
            ):
                data += more
        if len(data) != end - start:
            raise IntegrityError(f"{self.location(key)} ends before byte {end}")
        return data

    def stream(self, key: str, *, etag: str | None = None) -> Iterator[bytes]:
        """The file as re-read from disk: its cached pages are dropped first, where supported."""
        with translated(self.location(key)), self._opened(key, etag) as (descriptor, status):
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            left = status.st_size
            while left and (chunk := os.read(descriptor, min(left, CHUNK))):
                left -= len(chunk)
                yield chunk
            if left or etag_of(os.fstat(descriptor)) != etag_of(status):
                raise IntegrityError(f"{self.location(key)} changed while it was being read")

    def delete(self, key: str, *, only: str | None = None) -> None:
        """Remove a file, its metadata, an unfinished `put` of it, and the folders that become empty."""
        self.abort(key, put_id(key))
        with translated(self.location(check_key(key))), suppress(FileNotFoundError), self._locked() as root:
            if only is not None and self._exists(key):
                require_etag(self.location(key), self.head(key).etag, only)
            with suppress(FileNotFoundError, NotADirectoryError), open_parent(root, key) as (folder, name):
                remove(folder, name)
            self._remove_note(root, key)
            remove_empty_parents(root, key)

    def restore(self, key: str, *, days: int, tier: str) -> bool:
        """Nothing is ever frozen in a directory."""
        raise RefusedError(f"{self.location(key)} can be read at any time", next_step="mgmt download NAME")

    def change_class(
        self,
        key: str,
        storage_class: str,
        *,
        only: StoredObject,
        checksum: str | None,
        on_started: Callable[[str], None],
    ) -> str | None:
        """A directory has no storage classes."""
        raise RefusedError(f"{self.location(key)} is in a directory, which has no storage classes")

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """A directory has no tags."""
        raise RefusedError(
            f"{self.location(key)} is in a directory, which has no tags",
            next_step="mgmt tag NAME ...\n# without --sync-tags: in the catalog only",
        )

    def lifecycle(self) -> None:
        """A directory has no rules."""

    def pending(self, prefix: str = "") -> Iterator[PendingUpload]:
        """The uploads in `.mgmt/uploads`, of any process."""
        with translated(self.url), suppress(FileNotFoundError), self._parent(upload_path("")) as (folder, _):
            for name in sorted(os.listdir(folder)):
                upload_id, suffix = os.path.splitext(name)
                if suffix != ".json":
                    continue
                size = 0
                try:
                    status = os.stat(name, dir_fd=folder)
                    key = parsed(read_all(folder, name)).get("key", "")
                    with suppress(FileNotFoundError):
                        size = os.stat(upload_id, dir_fd=folder).st_size
                except FileNotFoundError:
                    continue  # it ended concurrently
                if key.startswith(prefix):
                    yield PendingUpload(key, upload_id, moment(status) or datetime.now(UTC), size)

    def abort(self, key: str, upload_id: str) -> None:
        """Remove a pending upload, if it exists, and the metadata that it may have left."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return
        self._before_removal()
        with translated(self.location(key)), suppress(FileNotFoundError), self._locked() as root:
            with suppress(FileNotFoundError), open_parent(root, upload_path(upload_id)) as (folder, name):
                remove(folder, name)
                remove(folder, f"{name}.json")
            if not self._exists(key):
                self._remove_note(root, key)

    def guarded(self, before_removal: Callable[[], None]) -> Self:
        """See `ObjectStore.guarded`."""
        return type(self)(self.path, before_removal)

    def clock(self) -> datetime | None:
        """None: a folder has no clock."""
        return None

    def publish(self, key: str, upload_id: str, size: int, metadata: Mapping[str, str]) -> StoredObject:
        """Give the finished upload its key. Raises ConflictError when the key holds an object of another operation."""
        with translated(self.location(key)), self._locked() as root:
            there = self.head(key) if self._exists(key) else None
            if there is not None and there.size == 0 != size and self._note(key) == noted(size, metadata):
                with open_parent(root, key) as (folder, name):  # the claim of a crashed run: see `place`
                    remove(folder, name)
                there = None
            if there is not None and not is_same(there, size, metadata):
                raise ConflictError(f"{self.location(key)} already exists")
            if there is None:
                self._place(root, key, upload_id, noted(size, metadata))
        self.abort(key, upload_id)
        return self.head(key)

    def _upload(
        self,
        descriptor: int,
        key: str,
        upload_id: str,
        metadata: Mapping[str, str],
        transfer: Transfer,
    ) -> DirectoryUpload:
        return DirectoryUpload(
            os.fdopen(descriptor, "r+b", buffering=0),
            self.location(key),
            transfer,
            publish=lambda size: self.publish(key, upload_id, size, metadata),
            remove=lambda: self.abort(key, upload_id),
        )

    def _place(self, root: int, key: str, upload_id: str, note: dict[str, Any]) -> None:
        try:
            with open_parent(root, upload_path(upload_id)) as source:
                os.stat(source[1], dir_fd=source[0])
                with open_parent(root, note_path(key), create=True) as (folder, name):
                    write_new(folder, name, [json.dumps(note).encode()])
                with open_parent(root, key, create=True) as target:
                    place(source, target)
        except FileNotFoundError as error:
            raise StoreUnavailableError(
                f"the upload of {self.location(key)} was removed while it was in progress",
                next_step="run the same command again",
            ) from error

    def _create_upload(self, key: str, upload_id: str) -> int:
        with self._parent(upload_path(upload_id), create=True) as (folder, name):
            write_new(folder, f"{name}.json", [json.dumps({"key": key}).encode()])
        return self._open_upload(upload_id, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def _open_existing(self, upload_id: str) -> int | None:
        if not _UPLOAD_ID.fullmatch(upload_id):
            return None
        try:
            return self._open_upload(upload_id, os.O_RDWR)
        except FileNotFoundError:
            return None

    def _open_upload(self, upload_id: str, flags: int) -> int:
        with self._parent(upload_path(upload_id)) as (folder, name):
            return open_shared(folder, name, flags)

    @contextmanager
    def _opened(self, key: str, etag: str | None) -> Iterator[tuple[int, os.stat_result]]:
        with self._parent(check_key(key)) as (folder, name):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            if not S_ISREG(status.st_mode):
                raise NotFoundError(f"{self.location(key)} is not a file")
            if etag not in {None, etag_of(status)}:
                raise IntegrityError(f"{self.location(key)} is not the recorded object")
            yield descriptor, status
        finally:
            os.close(descriptor)

    @contextmanager
    def _parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        with open_root(self.path, create=create) as root, open_parent(root, path, create=create) as parent:
            yield parent

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The root folder, under a lock that excludes other processes from publishing and deleting."""
        with (
            open_root(self.path, create=False) as root,
            open_parent(root, f"{OWN}/lock", create=True) as (folder, name),
        ):
            if (kept := getattr(self._own, "lock", None)) is not None:
                # A signal interrupted an earlier use just before it released the lock: this would wait for itself.
                kept.close()
            descriptor = open_shared(folder, name, os.O_RDWR | os.O_CREAT)
            lock = self._own.lock = FileIO(descriptor)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield root
            finally:
                lock.close()

    def _exists(self, key: str) -> bool:
        try:
            self.head(key)
        except NotFoundError:
            return False
        return True

    def _remove_note(self, root: int, key: str) -> None:
        with suppress(FileNotFoundError), open_parent(root, note_path(key)) as (folder, name):
            remove(folder, name)

    def _note(self, key: str) -> dict[str, Any]:
        try:
            with self._parent(note_path(key)) as (folder, name):
                return parsed(read_all(folder, name))
        except FileNotFoundError:
            return {}


def _refuse_lock(url: str, lock: Lock | None) -> None:
    if lock is not None:
        raise RefusedError(
            f"{url} has no object lock, so nothing in it can be kept from being removed",
            next_step="use a bucket with object lock: mgmt config set store s3://BUCKET",
        )
