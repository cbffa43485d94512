"""Making an object appear under its key exactly once, whatever becomes of the answers."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import BinaryIO

from mgmt.errors import ConflictError, IntegrityError, NotFoundError, StoreUnavailableError
from mgmt.storage.store import OPERATION, StoredObject

CONTENT = "mgmt-content"
"""The metadata that says, in the sha256 of it, what a small object holds."""

ATTEMPTS = 3
CHUNK = 1 << 20


def sha256_of(data: BinaryIO) -> str:
    """The sha256 of `data` from its beginning to its end, in hex."""
    data.seek(0)
    digest = sha256()
    while chunk := data.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def is_same(there: StoredObject, size: int, metadata: Mapping[str, str]) -> bool:
    """Whether `there` is what the operation of `metadata` meant to put there, by its description."""
    return there.size == size and all(there.metadata.get(name) == metadata.get(name) for name in (OPERATION, CONTENT))


def refuse_another(where: str, etag: str, only: str) -> None:
    """Raise ConflictError unless the object at `where` is the one that was meant, by its ETag."""
    if etag != only:
        raise ConflictError(f"{where} is another object by now", next_step="mgmt verify")


def publish_once(
    where: str,
    *,
    head: Callable[[], StoredObject | None],
    publish: Callable[[], None],
    is_ours: Callable[[StoredObject], bool],
) -> StoredObject:
    """`publish`, unless the key is taken; a conflict, a missing upload or a lost answer to it is settled by `head`.

    What the store refused because it was damaged on its way is sent again: once is bad luck.

    Looking first is what keeps endpoints that ignore If-None-Match from overwriting. Looking again tells our own
    success (`is_ours`) from another's. Raises ConflictError when the key is another's, or the store goes on saying that
    it is taken, and StoreUnavailableError when nothing can be told: the next run settles it in the same way.
    """
    failure: ConflictError | IntegrityError | NotFoundError | StoreUnavailableError | None = None
    for attempt in range(ATTEMPTS + 1):
        there = head()
        if there is not None:
            if is_ours(there):
                return there
            raise ConflictError(f"{where} exists already")
        if attempt < ATTEMPTS:
            try:
                publish()
            except (ConflictError, IntegrityError, NotFoundError, StoreUnavailableError) as error:
                failure = error
    if failure is None or isinstance(failure, NotFoundError):
        raise StoreUnavailableError(
            f"the store has lost the upload of {where}", next_step="run the same command again"
        ) from failure
    raise failure
