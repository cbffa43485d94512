"""Publishing an object under its key exactly once, even if answers are lost."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import BinaryIO

from mgmt.errors import ConflictError, IntegrityError, NotFoundError, StoreUnavailableError
from mgmt.storage.store import OPERATION, StoredObject

CONTENT = "mgmt-content"
"""The metadata with the sha256 of the content of a small object."""

ATTEMPTS = 3
CHUNK = 1 << 20


def sha256_of(data: BinaryIO) -> str:
    """The sha256 of the whole of `data`, in hex."""
    data.seek(0)
    digest = sha256()
    while chunk := data.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def is_same(there: StoredObject, size: int, metadata: Mapping[str, str]) -> bool:
    """Whether `there` is the object that the operation in `metadata` was to store, by size and metadata."""
    return there.size == size and all(there.metadata.get(name) == metadata.get(name) for name in (OPERATION, CONTENT))


def require_etag(where: str, etag: str, only: str) -> None:
    """Raise ConflictError unless the object at `where` has the expected ETag `only`."""
    if etag != only:
        raise ConflictError(f"{where} was replaced by another object", next_step="mgmt verify")


def publish_once(
    where: str,
    *,
    head: Callable[[], StoredObject | None],
    publish: Callable[[], None],
    is_ours: Callable[[StoredObject], bool],
) -> StoredObject:
    """Call `publish` unless the key is taken. After a conflict, a missing upload or a lost answer, `head` decides.

    Requests that were corrupted in transit are retried. The first `head` prevents overwriting on endpoints that ignore
    If-None-Match; the later ones distinguish the success of this operation (`is_ours`) from an object of another one.
    Raises ConflictError when the key belongs to another operation, or the store keeps reporting that it is taken, and
    StoreUnavailableError when the outcome is unknown: the next run resolves it in the same way.
    """
    failure: ConflictError | IntegrityError | NotFoundError | StoreUnavailableError | None = None
    for attempt in range(ATTEMPTS + 1):
        there = head()
        if there is not None:
            if is_ours(there):
                return there
            raise ConflictError(f"{where} already exists")
        if attempt < ATTEMPTS:
            try:
                publish()
            except (ConflictError, IntegrityError, NotFoundError, StoreUnavailableError) as error:
                failure = error
    if failure is None or isinstance(failure, NotFoundError):
        raise StoreUnavailableError(
            f"the store lost the upload of {where}", next_step="run the same command again"
        ) from failure
    raise failure
