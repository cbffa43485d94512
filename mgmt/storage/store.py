"""The contract of a store, independent of any provider."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from mgmt.choices import LockMode
from mgmt.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from mgmt.storage.lifecycle import LifecycleRule

OPERATION = "mgmt-operation"
"""The metadata that names the operation which made an object."""

PROBE = ".mgmt-probe-"
"""The prefix of the keys of uploads that probe an endpoint. They never become objects."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store states about one object. Sizes are in bytes, times in UTC."""

    key: str
    size: int
    etag: str
    """Without its quotes; a weak one in full (`W/"..."`); empty where the store states none."""
    storage_class: str | None = None
    last_modified: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    frozen: bool = False
    """It must be restored before it can be read."""
    thawing: bool = False
    """A restore of the frozen object is in progress."""
    thawed_until: datetime | None = None
    """A frozen object was restored, and can be read until then."""
    version_id: str | None = None
    """Which version of the object it is; None in a bucket that is not versioned, and in listings."""
    lock_mode: str | None = None
    """GOVERNANCE or COMPLIANCE; None where it has no retention, and in listings."""
    locked_until: datetime | None = None
    """The store prevents its removal before then; None where it does not state that."""
    legal_hold: bool | None = None
    """Whether the store prevents its removal until somebody lifts the hold; None where it does not state that."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a store is reached. For S3 only: `endpoint_url`, `region` and `profile` otherwise come from boto3's own
    configuration, as credentials always do.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    threads: int = 4
    """Parts that are sent at a time."""
    part_size: int | None = None
    """Bytes of a part; None means DEFAULT_PART_SIZE, or more for very large objects."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint was seen to support. Probed once per endpoint, and remembered by the caller."""

    checksum: str | None
    """The checksum for which the endpoint was seen to reject a mismatch: "crc64nvme", "sha256", "md5", or None."""
    max_parts: int = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What an upload has sent, as computed locally, never as stated by the server."""

    size: int
    checksum: str | None
    """The checksums that the store may state: separated by spaces, each "crc64nvme:<base64>",
    "sha256:<base64>[-<parts>]" or "md5:<hex>[-<parts>]". Uploads of mgmt always include the crc64nvme, with which
    reading back is compared where the store cannot be trusted. None where nothing is known."""
    parts: int
    part_size: int


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that was started and neither completed nor aborted."""

    key: str
    upload_id: str
    started_at: datetime | None
    size: int | None
    """Bytes that are already stored and billed; None where the store does not state that."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What keeps an object from being removed."""

    mode: LockMode | None = None
    """Of the retention; None leaves it to the bucket."""
    until: datetime | None = None
    """The end of the retention; None sets none."""
    legal_hold: bool | None = None
    """None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class KeyVersions:
    """The versions of one key in a versioned bucket, by their ids."""

    versions: tuple[str, ...] = ()
    """Those that hold an object, the newest first."""
    markers: tuple[str, ...] = ()
    """The delete markers."""
    hidden_by: str | None = None
    """The delete marker that is newest of all, so that the key has no object; None if there is none."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an object carries besides its content."""

    metadata: Mapping[str, str]
    """Must hold `OPERATION`: after a lost answer, it shows which operation made the object."""
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    lock: Lock | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """How one object is sent."""

    planned_size: int
    """About how many bytes it will have."""
    part_size: int | None = None
    """Bytes of a part, as is wanted now; None lets the store choose."""
    resume: str | None = None
    """The upload id that an interrupted run was given by `on_started`. When that upload is gone, a new one is begun."""
    resume_part_size: int | None = None
    """The part size that it was given. An upload with parts of another size than is wanted now is begun anew."""
    folder: str | None = None
    """Where parts that are too large for the memory wait, in files without a name; None: where `TMPDIR` says."""
    on_started: Callable[[str, int], None] | None = None
    """Called once with upload id and part size, before the first part of a new upload is sent; not called for small
    objects, which are sent in one request."""
    on_sent: Callable[[int], None] | None = None
    """Called from transfer threads with the bytes of each part that has arrived, or was there already."""
    on_limit: Callable[[int], None] | None = None
    """Called with the maximum number of parts, when an endpoint refuses more than it takes. Stores set this."""


class Upload(Protocol):
    """An object that is being sent to a store. It is not visible under its key before `complete`.

    The caller writes from one thread. The store sends parts in parallel in its own threads; what waits in memory, or on
    the disk, is bounded by the parts in flight. After an exception the upload can be aborted, or left for a later run
    to resume.
    """

    part_size: int
    parts_sent: int
    parts_skipped: int
    """Parts that an interrupted run has already stored."""

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`. A memoryview is copied, so its buffer can be reused; bytes are not."""
        ...

    def finish(self) -> Sent:
        """Send what is buffered and wait until everything is in the store. The object is not yet visible."""
        ...

    def complete(self) -> StoredObject:
        """Publish the object under its key without overwriting. After a lost answer, HEAD determines the outcome.

        Raises ConflictError when the key holds an object of another operation.
        """
        ...

    def abort(self) -> None:
        """Remove what was sent, if anything. May be called twice."""
        ...

    def close(self) -> None:
        """Stop the threads, and leave in the store what was sent. Harmless after `complete` or `abort`."""
        ...


class Versions(Protocol):
    """The older versions of objects, which a versioned bucket keeps. Errors are those of `ObjectStore`."""

    def status(self) -> str | None:
        """Enabled or Suspended; None in a bucket that was never versioned."""
        ...

    def of(self, key: str) -> KeyVersions:
        """The versions of `key`. In a bucket that is not versioned, an object is its only version, called "null"."""
        ...

    def head(self, key: str, version_id: str) -> StoredObject:
        """Describe a version that is no delete marker. Raises NotFoundError when there is none."""
        ...

    def delete(self, key: str, version_id: str) -> None:
        """Remove one version or delete marker for good. It is not an error if it does not exist."""
        ...


class Locks(Protocol):
    """Object lock. Errors are those of `ObjectStore`."""

    def default(self) -> Lock | None:
        """How the bucket locks a new object; None if it does not, or if that may not be read.

        Raises RefusedError if the bucket has no object lock.
        """
        ...

    def put(self, key: str, version_id: str | None, lock: Lock, *, bypass: bool = False) -> None:
        """Lock a version of an object, or the current one. With `bypass`, shorten a retention in GOVERNANCE."""
        ...


class ObjectStore(Protocol):
    """Objects by key. Keys are relative to the store's prefix, and no call leaves that prefix.

    Every method raises StoreUnavailableError when the store cannot be reached or is throttling requests, StoreError
    when it rejects a request, and no exception of an underlying library.
    """

    url: str
    """`s3://bucket/prefix` or `file:///directory`, without a trailing slash."""
    bucket: str | None

    @property
    def versions(self) -> Versions | None:
        """The older versions of objects; None where a store can have none."""
        ...

    @property
    def locks(self) -> Locks | None:
        """Object lock; None where a store can have none."""
        ...

    def capabilities(self) -> Capabilities:
        """What the endpoint supports; probed at the first call, which leaves nothing in the store."""
        ...

    def location(self, key: str) -> str:
        """The full URL of `key`."""
        ...

    def head(self, key: str) -> StoredObject:
        """Describe the object. Raises NotFoundError when the key does not exist."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key begins with `prefix`, in the order in which the store lists them. `metadata` is empty.

        S3 and a directory sort by the bytes of the keys, but not every S3-compatible service does (SeaweedFS lists
        `a/b` before `a-b`): do not rely on the order.
        """
        ...

    def start_upload(self, key: str, attributes: Attributes, transfer: Transfer) -> Upload:
        """Begin to send one object, or resume an interrupted upload of it."""
        ...

    def prove(self, key: str, sent: Sent) -> str | None:
        """Compare what the store states about the object with what was sent.

        Returns the name of the checksum that proves it ("crc64nvme"), or None when the store cannot prove it and the
        object must be read back. Raises IntegrityError when size or checksum differ, NotFoundError when it is gone.
        """
        ...

    def put(
        self, key: str, data: BinaryIO, *, size: int, metadata: Mapping[str, str], lock: Lock | None = None
    ) -> StoredObject:
        """Store a small object (an index) in the standard storage class, in one request.

        Raises ConflictError when the key is taken. Storing the same content again in the same operation is no conflict.
        """
        ...

    def anchor(self, name: str, data: bytes, *, lock: Lock | None = None) -> StoredObject:
        """Store `data` for good, apart from the objects. Storing the same again under the same name is no conflict.

        It is never overwritten: raises ConflictError when the name holds something else.
        """
        ...

    def anchors(self) -> Iterator[str]:
        """The names of the stored anchors."""
        ...

    def keep(self, name: str, data: BinaryIO, *, size: int) -> StoredObject:
        """Store a part of the history as `anchor` does, and verify it in the store.

        Raises ConflictError when the name holds something else, IntegrityError when something else arrived.
        """
        ...

    def read(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        """Bytes `start` to `end` (exclusive), exactly that many.

        Raises IntegrityError when the object does not have the given `etag`, NotReadyError when it is frozen.
        """
        ...

    def stream(self, key: str, *, etag: str | None = None) -> Iterator[bytes]:
        """The whole object from its beginning, in chunks. A short answer is an error, never a short object.

        Raises IntegrityError when the object does not have the given `etag`, NotReadyError when it is frozen.
        """
        ...

    def delete(self, key: str, *, only: str | None = None) -> None:
        """Remove one object. It is not an error if it does not exist. A versioned bucket hides it by a delete marker.

        With `only`, an ETag, raises ConflictError when another object is at `key`. A directory compares and removes
        atomically; S3 compares just before the removal.
        """
        ...

    def restore(self, key: str, *, days: int, tier: str) -> bool:
        """Ask for a copy of a frozen object that can be read for some days; False if the store is at it already.

        It is made some time later: `head` says when. Raises RefusedError if the object is not frozen, or the store does
        not take the `tier` for it, and StoreUnavailableError if it has no capacity for that tier now.
        """
        ...

    def change_class(
        self,
        key: str,
        storage_class: str,
        *,
        only: StoredObject,
        checksum: str | None,
        on_started: Callable[[str], None],
    ) -> str | None:
        """Move the object `only` to another storage class; return the id of its new version, where there are versions.

        Its metadata, tags and locks are kept. At any time it is under its key, as it was or as it will be; the caller
        proves it afterwards. `checksum` is what it must have (`Sent.checksum`). `on_started` is called with the id of
        a multipart upload, if one is needed, which the caller aborts after an interruption.

        Raises ConflictError if another object is there, NotReadyError if it is frozen, RefusedError if the store has no
        such class, or does not do it.
        """
        ...

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of an object. Raises RefusedError if the store keeps no tags."""
        ...

    def lifecycle(self) -> "tuple[str, Sequence[LifecycleRule]] | None":
        """The prefix in the bucket, and the enabled lifecycle rules of that; None if the store has no such rules."""
        ...

    def pending(self, prefix: str = "") -> Iterator[PendingUpload]:
        """Uploads in progress or abandoned, of any process."""
        ...

    def abort(self, key: str, upload_id: str) -> None:
        """Remove a pending upload. It is not an error if it does not exist."""
        ...

    def guarded(self, before_removal: Callable[[], None]) -> Self:
        """The same store, for another thread: it calls `before_removal` instead of that given to `open_store`."""
        ...

    def clock(self) -> datetime | None:
        """The time according to the store, even if it rejects the credentials; None where it states none."""
        ...


def trusted(store: ObjectStore) -> str | None:
    """The checksum of `store` that can be trusted; None also where it may not be probed: then nothing can be."""
    try:
        return store.capabilities().checksum
    except StoreUnavailableError:
        raise
    except StoreError:
        return None
