"""Where archives live, seen without any one provider's words."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol

OPERATION = "mgmt-operation"
"""The metadata that names the operation which made an object."""

PROBE = ".mgmt-probe-"
"""How the key of an upload begins by which an endpoint is probed. It never becomes an object."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store says about one object. Sizes are bytes, times are UTC."""

    key: str
    size: int
    etag: str
    storage_class: str | None = None
    last_modified: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    frozen: bool = False
    """It cannot be read before it is thawed."""
    thawing: bool = False
    """A restore of the frozen object is under way."""
    locked_until: datetime | None = None
    """The store itself lets nobody remove it before then; None where it does not say so."""


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
    """What an endpoint was seen to do. Probed once per endpoint, then remembered by whoever opened the store."""

    checksum: str | None
    """The checksum whose mismatch the endpoint was seen to refuse: "crc64nvme", "sha256", "md5", or None."""
    max_parts: int = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What an upload has put into the store, by our own reckoning, never by the server's."""

    size: int
    checksum: str | None
    """What the store should say of the object: space-separated alternatives, each "crc64nvme:<base64>",
    "sha256:<base64>[-<parts>]" or "md5:<hex>[-<parts>]". The crc64nvme is always among those of our own uploads: where
    no word of the store can be trusted, it is what a reading back is compared with. None where nothing is known."""
    parts: int
    part_size: int


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    started_at: datetime | None
    size: int
    """Bytes that are already stored, and paid for."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an object carries besides its content."""

    metadata: Mapping[str, str]
    """Must hold `OPERATION`: after a lost answer, it tells whose object is there."""
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transfer:
    """How one object is sent."""

    planned_size: int
    """About how many bytes it will have."""
    part_size: int | None = None
    """Bytes of a part; None lets the store choose. An upload resumes only with the part size it was started with."""
    resume: str | None = None
    """The upload id that an interrupted run was given by `on_started`. When that upload is gone, a new one is begun."""
    on_started: Callable[[str, int], None] | None = None
    """Called once with upload id and part size, before the first part of a new upload is sent; not called for small
    objects, which are sent in one request."""
    on_sent: Callable[[int], None] | None = None
    """Called from transfer threads with the bytes of each part that has arrived, or was there already."""


class Upload(Protocol):
    """One object on its way into a store. Nothing is visible under its key before `complete`.

    The caller writes from one thread. Parts are sent in parallel by the store's own threads; memory is bounded by
    the parts in flight. After an exception the upload can be aborted, or left for a later run to resume.
    """

    part_size: int
    parts_sent: int
    parts_skipped: int
    """Parts that an earlier, interrupted run had already stored."""

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`, which may be used after the call returns only if it is immutable: memoryviews are copied."""
        ...

    def finish(self) -> Sent:
        """Send what is buffered and wait until all of it is in the store. The object is still not visible."""
        ...

    def complete(self) -> StoredObject:
        """Make the object appear under its key, never overwriting. A lost answer is settled by HEAD.

        Raises ConflictError when the key holds an object of another operation.
        """
        ...

    def abort(self) -> None:
        """Remove what was sent. Harmless when nothing was."""
        ...

    def close(self) -> None:
        """Stop the threads; leave in the store what is there. Harmless after `complete` or `abort`."""
        ...


class ObjectStore(Protocol):
    """Objects by key. Keys are relative to the store's prefix, and no call leaves that prefix.

    Every method raises StoreUnavailableError when the store cannot be reached or says slow down, StoreError when it
    refuses, and translates whatever its library raises.
    """

    url: str
    """`s3://bucket/prefix` or `file:///directory`, without a trailing slash."""
    bucket: str | None

    def capabilities(self) -> Capabilities:
        """What the endpoint can be trusted with; probed at the first call, without litter."""
        ...

    def location(self, key: str) -> str:
        """The full URL of `key`."""
        ...

    def head(self, key: str) -> StoredObject:
        """Raise NotFoundError when there is no such key."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key begins with `prefix`, in the order in which the store lists them. `metadata` is empty.

        S3 and a directory list by the bytes of the keys; not every S3-compatible service does (SeaweedFS lists
        `a/b` before `a-b`): do not merge by this order.
        """
        ...

    def start_upload(self, key: str, attributes: Attributes, transfer: Transfer) -> Upload:
        """Begin to send one object, or resume an interrupted upload of it."""
        ...

    def prove(self, key: str, sent: Sent) -> str | None:
        """Ask the store what it holds, and compare with what was sent.

        Returns the name of the checksum that proves it ("crc64nvme"), or None when the store's word proves nothing:
        then it must be read back. Raises IntegrityError when size or checksum differ, NotFoundError when it is gone.
        """
        ...

    def put(self, key: str, data: BinaryIO, *, size: int, metadata: Mapping[str, str]) -> StoredObject:
        """Store a small object (an index) in the standard class, in one request. ConflictError if the key is taken."""
        ...

    def anchor(self, name: str, data: bytes) -> StoredObject:
        """Write `data` down for good, apart from the objects. The same again, under the same name, is no conflict.

        It is never overwritten: raises ConflictError when the name has something else.
        """
        ...

    def anchors(self) -> Iterator[str]:
        """The names of what `anchor` has written down."""
        ...

    def keep(self, name: str, data: BinaryIO, *, size: int) -> StoredObject:
        """Write a part of the history down as `anchor` does, and see that the store holds exactly that.

        Raises ConflictError when the name has something else, IntegrityError when it is not what arrived.
        """
        ...

    def read(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        """Bytes `start` to `end` (exclusive), exactly that many. With `etag`, IntegrityError if the object is another.

        Raises NotReadyError when the object is frozen.
        """
        ...

    def stream(self, key: str, *, etag: str | None = None) -> Iterator[bytes]:
        """The whole object from its beginning, in chunks. A short answer is an error, never a short object.

        Raises NotReadyError when the object is frozen.
        """
        ...

    def delete(self, key: str, *, only: str | None = None) -> None:
        """Remove one object. Removing what is not there is not an error.

        With `only`, an ETag, no other object than that: raises ConflictError when another one stands at `key`. A
        directory looks and removes in one step; on S3 the look comes just before.
        """
        ...

    def pending(self, prefix: str = "") -> Iterator[PendingUpload]:
        """Uploads under way or abandoned, whoever began them."""
        ...

    def abort(self, key: str, upload_id: str) -> None:
        """Remove a pending upload. Aborting what is not there is not an error."""
        ...

    def clock(self) -> datetime | None:
        """What time the store says it is, whether or not it lets us in; None where it does not say, or has none."""
        ...
