"""An `ObjectStore` in a bucket, on top of the requests in s3.py."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO, Self

from mgmt.errors import IntegrityError, NotFoundError, StoreError, StoreUnavailableError
from mgmt.storage import s3_cold, s3_copy, s3_manage
from mgmt.storage.checksums import checksum_of_file, proven_by
from mgmt.storage.etags import require_etag, same_etag
from mgmt.storage.keys import ANCHORS, HISTORY, OWN, check_key
from mgmt.storage.lifecycle import LifecycleRule
from mgmt.storage.multipart import MultipartUpload, plan_part_size
from mgmt.storage.publish import CONTENT, is_same, publish_once, sha256_of
from mgmt.storage.refusals import UnsupportedError
from mgmt.storage.s3 import STANDARD, Bucket
from mgmt.storage.s3_locks import BucketLocks
from mgmt.storage.s3_object import NewObject
from mgmt.storage.s3_probe import probe
from mgmt.storage.s3_versions import BucketVersions
from mgmt.storage.store import (
    OPERATION,
    Attributes,
    Capabilities,
    Lock,
    PendingUpload,
    Sent,
    StoredObject,
    StoreOptions,
    Transfer,
    trusted,
)

REQUEST = 32 << 20
"""Bytes per GET. SeaweedFS is ten times slower with much larger ones; no server is slower with these."""

READ_ATTEMPTS = 4
"""How often an answer may end early without any progress."""

PAUSE = 0.1
"""Seconds before the first retry; each further one waits twice as long."""


class S3Store:
    """See `mgmt.storage.open_store`."""

    def __init__(
        self,
        bucket: Bucket,
        options: StoreOptions,
        *,
        capabilities: Capabilities | None,
        on_probed: Callable[[str, Capabilities], None] | None,
        before_removal: Callable[[], None],
    ) -> None:
        self.url = bucket.url
        self.bucket: str | None = bucket.name
        self._bucket = bucket
        self._options = options
        self._capabilities = capabilities
        self._refusal: StoreError | None = None
        self._on_probed = on_probed
        self._before_removal = before_removal

    @property
    def versions(self) -> BucketVersions:
        """The older versions of objects, if the bucket is versioned."""
        return BucketVersions(self._bucket, self._before_removal)

    @property
    def locks(self) -> BucketLocks:
        """Object lock, if the bucket has it."""
        return BucketLocks(self._bucket)

    def capabilities(self) -> Capabilities:
        """Those given to `open_store`, or the result of a probe: see docs/guide.md, "Proof".

        Raises StoreError where that may not be probed, for example with credentials that only read.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._capabilities is None:
            try:
                return self._remember(probe(self._bucket))
            except StoreUnavailableError:
                raise
            except StoreError as error:
                self._refusal = error  # it is the same for each of many archives
                raise
        return self._capabilities

    def _remember(self, seen: Capabilities) -> Capabilities:
        self._capabilities = seen
        if self._on_probed is not None:
            self._on_probed(self._bucket.endpoint, seen)
        return seen

    def location(self, key: str) -> str:
        """`s3://bucket/prefix/key`."""
        return self._bucket.where(key)

    def head(self, key: str) -> StoredObject:
        """Raise NotFoundError when the key does not exist, and StoreError when the bucket does not exist."""
        try:
            return self._bucket.head(check_key(key))
        except NotFoundError:
            self._bucket.check()
            raise

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """In the order of the service. `frozen` is true even while a thawed copy exists: use `head` for that."""
        return (each for each in self._bucket.list(prefix) if not each.key.startswith(f"{OWN}/"))

    def start_upload(self, key: str, attributes: Attributes, transfer: Transfer) -> MultipartUpload:
        """Begin or resume sending one object in parts of one size; a small one takes one request."""
        able = self.capabilities()
        wanted = transfer.part_size or self._options.part_size
        size, resume = plan_part_size(transfer.planned_size, able.max_parts, wanted), transfer.resume
        begun = transfer.resume_part_size or size
        if resume is not None and begun != size:
            if wanted is None and begun * able.max_parts >= transfer.planned_size:
                size = begun
            else:
                with suppress(StoreError):
                    self.abort(key, resume)
                resume = None
        return MultipartUpload(
            NewObject(self._bucket, check_key(key), able.checksum, attributes),
            attributes.metadata,
            replace(transfer, part_size=size, resume=resume, on_limit=self._learn_limit),
            able,
            self._options.threads,
        )

    def _learn_limit(self, parts: int) -> None:
        self._remember(replace(self.capabilities(), max_parts=parts))

    def prove(self, key: str, sent: Sent) -> str | None:
        """By the checksum that the endpoint was seen to verify, if it states one: see docs/guide.md, "Proof"."""
        size, stated = self._bucket.checksums(check_key(key))
        return proven_by(self.location(key), sent, size, stated, trusted(self))

    def put(
        self, key: str, data: BinaryIO, *, size: int, metadata: Mapping[str, str], lock: Lock | None = None
    ) -> StoredObject:
        """Store the `size` bytes of `data`. Storing the same content again in the same operation is no conflict."""
        return self._put(check_key(key), data, size, Attributes(metadata, lock=lock))

    def anchor(self, name: str, data: bytes, *, lock: Lock | None = None) -> StoredObject:
        """An object under `.mgmt/anchors/`. Without `lock`, a bucket with object lock retains it as it does others."""
        return self._keep(ANCHORS, name, BytesIO(data), len(data), lock)

    def anchors(self) -> Iterator[str]:
        """Names in the order of the service."""
        return (each.key.removeprefix(ANCHORS) for each in self._bucket.list(ANCHORS))

    def keep(self, name: str, data: BinaryIO, *, size: int) -> StoredObject:
        """An object under `.mgmt/history/`, in one request."""
        return self._keep(HISTORY, name, data, size)

    def _keep(self, where: str, name: str, data: BinaryIO, size: int, lock: Lock | None = None) -> StoredObject:
        key = where + check_key(name)
        # A bucket with object lock requires a checksum, even where the endpoint was not seen to compare it.
        self._put(key, data, size, Attributes({OPERATION: name}, lock=lock), at_least="md5")
        return self._bucket.head(key)

    def _put(
        self, key: str, data: BinaryIO, size: int, attributes: Attributes, at_least: str | None = None
    ) -> StoredObject:
        trusted = self.capabilities().checksum
        algorithm = trusted or (at_least if attributes.lock is None else "md5")
        own = {**attributes.metadata, CONTENT: sha256_of(data)}
        requests = NewObject(self._bucket, key, algorithm, replace(attributes, metadata=own, storage_class=STANDARD))
        other = NewObject(self._bucket, key, algorithm, replace(attributes, metadata=own))
        raw = checksum_of_file(algorithm, data) if algorithm else b""

        def publish() -> None:
            try:  # whatever the default of the bucket is
                requests.put(data, raw)
            except StoreError as error:  # an endpoint that has no classes, or one of its own only
                if not isinstance(error, UnsupportedError) and "InvalidStorageClass" not in error.message:
                    raise
                other.put(data, raw)

        stored = publish_once(
            requests.where,
            head=requests.head,
            publish=publish,
            is_ours=lambda there: is_same(there, size, own),
        )
        if trusted is None:  # the endpoint does not compare
            digest = sha256()
            for chunk in self._chunks(key, 0, size, stored.etag):
                digest.update(chunk)
            if digest.hexdigest() != own[CONTENT]:
                error = IntegrityError(f"{requests.where} was corrupted on its way to the store")
                with suppress(StoreError):
                    self._bucket.delete(key)
                raise error
        return stored

    def read(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        """Ranged GETs, retried from where an answer ended early."""
        return b"".join(self._chunks(check_key(key), start, end, etag)) if end > start else b""

    def stream(self, key: str, *, etag: str | None = None) -> Iterator[bytes]:
        """The whole object, provided that it does not change while it is read."""
        there = self.head(key)
        if etag and not same_etag(there.etag, etag):
            raise IntegrityError(f"{self.location(key)} is not the recorded object")
        yield from self._chunks(key, 0, there.size, there.etag)

    def delete(self, key: str, *, only: str | None = None) -> None:
        """Remove one object, if it exists. In a versioned bucket the older version remains."""
        if only is not None:
            try:
                require_etag(self.location(key), self.head(key).etag, only)
            except NotFoundError:
                return
        self._before_removal()
        self._bucket.delete(check_key(key))

    def restore(self, key: str, *, days: int, tier: str) -> bool:
        """See `ObjectStore.restore`."""
        bucket, key = self._bucket, check_key(key)
        return s3_cold.restore(bucket.client, bucket.place(key), bucket.where(key), days, tier)

    def change_class(
        self,
        key: str,
        storage_class: str,
        *,
        only: StoredObject,
        checksum: str | None,
        on_started: Callable[[str], None],
    ) -> str | None:
        """See `ObjectStore.change_class`."""
        how = s3_copy.ClassMove(
            storage_class=storage_class,
            etag=only.etag,
            checksum=checksum,
            algorithm=trusted(self),
            on_started=on_started,
        )
        self._before_removal()
        return s3_copy.move(self._bucket, check_key(key), how)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """See `ObjectStore.tag`."""
        s3_manage.put_tags(self._bucket, check_key(key), tags)

    def lifecycle(self) -> tuple[str, Sequence[LifecycleRule]] | None:
        """See `ObjectStore.lifecycle`."""
        return self._bucket.prefix, s3_manage.lifecycle(self._bucket)

    def pending(self, prefix: str = "") -> Iterator[PendingUpload]:
        """Multipart uploads that were neither completed nor aborted."""
        return self._bucket.pending(prefix)

    def abort(self, key: str, upload_id: str) -> None:
        """Remove a pending upload, if it exists."""
        self._before_removal()
        self._bucket.abort(check_key(key), upload_id)

    def guarded(self, before_removal: Callable[[], None]) -> Self:
        """See `ObjectStore.guarded`. Both use one client, which is thread-safe."""
        other = copy(self)
        other._before_removal = before_removal
        return other

    def clock(self) -> datetime | None:
        """The Date of an answer."""
        return self._bucket.clock()

    def _chunks(self, key: str, start: int, end: int, etag: str | None) -> Iterator[bytes]:
        position, failures = start, 0
        while position < end:
            etag, chunks = self._bucket.get(key, position, min(end, position + REQUEST), etag)
            try:
                for chunk in chunks:
                    position += len(chunk)
                    failures = 0
                    yield chunk
            except StoreUnavailableError:
                failures += 1
                if failures == READ_ATTEMPTS:
                    raise
                time.sleep(PAUSE * 2**failures)
