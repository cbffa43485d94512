"""Publishing an object under its key exactly once, even if answers are lost."""

import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import BinaryIO

from mgmt.errors import (
    ConflictError,
    IntegrityError,
    MgmtError,
    NotFoundError,
    StoreError,
    StoreUnavailableError,
)
from mgmt.storage.store import OPERATION, StoredObject

CONTENT = "mgmt-content"
"""The metadata with the sha256 of the content of a small object."""

ATTEMPTS = 3
PAUSES = (0.2, 0.5, 2, 5, 10, 20, 30, 60)
"""Seconds before each further look at a key that has no object although the store reports a conflict. Completing a
large upload takes Amazon minutes, and other services longer than a client waits for the answer."""

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
    A store that reports a conflict while the key has no object may still be completing it: `head` asks again for about
    two minutes. Raises ConflictError only when the key holds an object of another operation, StoreError when the store
    drops metadata, and StoreUnavailableError when the outcome could not be settled: the next run does that in the same
    way.
    """
    failure: ConflictError | IntegrityError | NotFoundError | StoreUnavailableError | None = None
    published = unknown = False
    tries = 0
    for pause in (*PAUSES, None):
        there = head()
        if there is None and published and failure is None:
            time.sleep(PAUSES[tries - 1])  # not every store shows at once what it has just taken
            there = head()
        if there is not None:
            if is_ours(there):
                return there
            if published and OPERATION not in there.metadata:
                raise drops_metadata(where)
            raise ConflictError(f"{where} already exists")
        if pause is None or tries == ATTEMPTS:
            break
        tries += not isinstance(failure, ConflictError)
        try:
            publish()
            published, failure = True, None
        except (ConflictError, IntegrityError, NotFoundError, StoreUnavailableError) as error:
            failure = error
            unknown = unknown or isinstance(error, StoreUnavailableError)
        if isinstance(failure, ConflictError | NotFoundError):
            time.sleep(pause)
    raise _unsettled(where, failure, unknown=unknown) from failure


def _unsettled(where: str, failure: MgmtError | None, *, unknown: bool) -> MgmtError:
    """The error for a key that still has no object; with `unknown`, an attempt without an answer may yet succeed."""
    if isinstance(failure, StoreUnavailableError) or (isinstance(failure, IntegrityError) and not unknown):
        return failure
    what = "is still being stored" if isinstance(failure, ConflictError) or unknown else "is lost"
    return StoreUnavailableError(
        f"it could not be settled whether the upload of {where} {what}", next_step="run the same command again"
    )


def drops_metadata(where: str) -> StoreError:
    """The error for a store that does not return the metadata of objects."""
    return StoreError(
        f"the store drops the metadata of objects, by which mgmt recognizes its archives: {where}",
        next_step="let it, or the gateway before it, keep the headers x-amz-meta-*, or use another store",
    )
