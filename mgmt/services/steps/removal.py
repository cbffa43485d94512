"""The only place that removes an object from a store.

Only `mgmt delete` removes an archive. An upload may take back an object that it has itself just completed and found
wrong, and an index that describes no archive is litter. Parts of an upload that was never completed are no object.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from mgmt.catalog import FileRecord
from mgmt.errors import ConflictError, RefusedError, StoreError, StoreUnavailableError
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import find_index, look_up
from mgmt.storage import Lock, ObjectStore, StoredObject


def remove_archive(store: ObjectStore, stored: StoredObject) -> None:
    """Remove this very archive, for `mgmt delete`. Raises ConflictError when its key now holds another object.

    The archive is removed before its index: an interruption leaves an index without an archive, never the reverse.
    """
    index = find_index(store, stored)
    store.delete(stored.key, only=stored.etag)
    if index is not None:
        store.delete(index)


def take_back(store: ObjectStore, key: str, index_key: str, archive_id: str) -> None:
    """Remove the archive that this process has just completed and that does not hold what it sent."""
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION) == archive_id:
        _discard(store, stored)
    store.delete(index_key)


def _discard(store: ObjectStore, stored: StoredObject) -> None:
    """Remove this very object for good: as an older version, it would be billed, and nobody could use it."""
    if store.versions is not None and stored.version_id is not None:
        try:
            refuse_nameless(store, stored.key, [stored.version_id])
            store.versions.delete(stored.key, stored.version_id)
            return
        except StoreUnavailableError:
            raise
        except (StoreError, RefusedError):  # the bucket retains it, or does not permit this: then it is hidden
            pass
    store.delete(stored.key, only=stored.etag)


def remove_index(store: ObjectStore, key: str, index_key: str, archive_id: str) -> bool:
    """Remove the index that the upload `archive_id` stored beside `key`, unless its archive exists.

    Returns whether it was removed. An object that carries no archive id may be that archive.
    """
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION, archive_id) == archive_id:
        return False
    store.delete(index_key)
    return True


def remove_remains(store: ObjectStore, archive: FileRecord) -> bool:
    """Remove what is left of an archive whose object is gone: its index, and a directory store's metadata of it.

    Returns False and removes nothing when its key holds the archive, or an object that may be the archive. Another
    archive that has the key by now has an index of its own.
    """
    key = str(archive.s3_object_key)
    stored = look_up(store, key)
    if stored is not None:
        carried = stored.metadata.get(OPERATION)
        if None in (carried, archive.archive_id) or carried == archive.archive_id:
            return False
    else:
        try:
            store.delete(key, only="")
        except ConflictError:
            return False
    # A versioned bucket would get a delete marker of nothing.
    if archive.index_key is not None and (store.versions is None or look_up(store, archive.index_key) is not None):
        store.delete(archive.index_key)
    return True


def refuse_nameless(store: ObjectStore, key: str, versions: Iterable[str | None]) -> None:
    """Raise RefusedError if one of these versions or delete markers is called "null", and may be another by now.

    That id is not of one version: where versioning is suspended, it names whatever was written last.
    """
    if store.versions is None or "null" not in versions:
        return
    try:
        status = store.versions.status()
    except StoreUnavailableError:
        raise
    except StoreError:
        status = "unknown"
    if status != "Enabled":
        raise RefusedError(
            f"the versioning of the bucket of {store.location(key)} is {str(status).lower()}: what is removed there"
            " could be an object that was written meanwhile",
            next_step="enable versioning, and try again\n# or, while nothing else writes there, use the S3 console",
        )


def remove_versions(store: ObjectStore, key: str, versions: Iterable[str]) -> None:
    """Remove these versions of an archive or its index for good, for `mgmt delete --purge`.

    If no version is left then, the delete markers hide nothing, and go too.
    """
    if store.versions is None:
        return
    for each in versions:
        refuse_nameless(store, key, [each])
        store.versions.delete(key, each)
    there = store.versions.of(key)
    for marker in there.markers if not there.versions else ():
        refuse_nameless(store, key, [marker])
        store.versions.delete(key, marker)


def uncover(store: ObjectStore, key: str, version_id: str) -> list[str]:
    """Remove the delete markers that hide this version, for `mgmt undelete`; return their ids.

    Raises ConflictError, and removes nothing more, as soon as it would show another version.
    """
    removed: list[str] = []
    while store.versions is not None and (there := store.versions.of(key)).hidden_by is not None:
        if there.hidden_by in removed:  # the store takes its time to show that it is gone
            raise StoreUnavailableError(f"{store.location(key)} is still hidden", next_step="mgmt undelete NAME")
        if there.versions[:1] != (version_id,):
            raise ConflictError(f"{store.location(key)} has another version by now")
        refuse_nameless(store, key, [there.hidden_by])
        store.versions.delete(key, there.hidden_by)
        removed.append(there.hidden_by)
    return removed


@dataclass(frozen=True, slots=True)
class IndexFile:
    """An index on the disk, at `path`, that is to be stored."""

    archive_key: str
    key: str
    path: str
    archive_id: str
    lock: Lock | None = None


def put_index(store: ObjectStore, index: IndexFile) -> None:
    """Store an index. Its key contains this archive's own id: an interrupted run's index is replaced."""
    size, metadata = os.path.getsize(index.path), {OPERATION: index.archive_id}
    for attempt in (1, 2):
        with open(index.path, "rb") as file:
            try:
                store.put(index.key, file, size=size, metadata=metadata, lock=index.lock)
                return
            except ConflictError:
                if attempt == 2 or not remove_index(store, index.archive_key, index.key, index.archive_id):
                    raise
