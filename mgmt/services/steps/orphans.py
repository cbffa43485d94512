"""Orphaned multipart uploads: a store has begun them, and no process will finish them."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from mgmt.catalog import Catalog, UploadRecord
from mgmt.errors import StoreError, StoreUnavailableError
from mgmt.storage import PROBE, ObjectStore, PendingUpload, StoredObject

OLD = timedelta(hours=1)
"""A probe takes seconds. One that is older than this, by the store's own clock, has no process any more."""


def abort_orphans(store: ObjectStore, key: str, catalog: Catalog) -> int:
    """Abort the orphaned uploads of `key`, for a process that was interrupted uploading to it; return how many.

    They have no parts and cost nothing, so a store that lists or aborts no uploads is no reason to fail.
    """
    aborted = 0
    with suppress(StoreError):
        for upload_id in orphans_of(store, key, catalog):
            store.abort(key, upload_id)
            aborted += 1
    return aborted


def orphans_of(store: ObjectStore, key: str, catalog: Catalog) -> list[str]:
    """The ids of the orphaned uploads of `key`.

    A process can be killed after the store has begun an upload and before its id is recorded. Such an upload has no
    parts, and its id is none of those that the catalog knows to be running. If another process began one this very
    moment, that process fails with an error that says to run it again.
    """
    known = {each.upload_id for each in catalog.journal.running() if isinstance(each, UploadRecord)}
    return [
        each.upload_id
        for each in store.pending(key)
        if each.key == key and each.size == 0 and each.upload_id not in known
    ]


def listed(store: ObjectStore, key: str) -> list[PendingUpload] | None:
    """The pending uploads of `key`; None where the store refuses to list them."""
    try:
        return [each for each in store.pending(key) if each.key == key]
    except StoreUnavailableError:
        raise
    except StoreError:
        return None


def may_be_resumed(store: ObjectStore, key: str, index: StoredObject) -> bool:
    """Whether somebody may still complete the archive `key`, whose `index` is in the store already and itself not.

    The index is stored when all parts are. For a day after that, an upload whose parts are there is not given up:
    another catalog may know it. One that is completed later stores its index again.
    """
    now = store.clock() or datetime.now(UTC)
    if index.last_modified is not None and now - index.last_modified >= 24 * OLD:
        return False
    return any(each.key == key for each in store.pending(key))


def may_be_completing(record: UploadRecord, pending: Sequence[PendingUpload] | None) -> bool:
    """Whether the store may still be completing the upload, whose archive then appears later, and needs its index.

    That is so for an hour after everything was sent, unless the upload is among those `pending` (None: not known).
    """
    from mgmt.services.steps.move_original import SENT  # it needs the compressors, which doctor does without

    if record.stage != SENT or record.upload_id is None:
        return False
    ended = record.completed_at or record.heard_at or record.started_at
    if datetime.now(UTC) - ended >= OLD:
        return False
    return pending is None or record.upload_id not in {each.upload_id for each in pending}


def abandoned_probes(store: ObjectStore) -> list[PendingUpload]:
    """The uploads of four bytes that killed probes of the endpoint left in `store`. Raises what the store raises."""
    found = list(store.pending(PROBE))
    there = store.clock() if found else None
    if there is None:
        return []
    return [each for each in found if each.started_at is not None and there - each.started_at >= OLD]
