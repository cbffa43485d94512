"""The only place that removes an object from a store.

Only `mgmt delete` removes an archive. An upload may take back an object that it has itself just completed and found
wrong, and an index that describes no archive is litter. Parts of an upload that was never completed are no object.
"""

import os

from mgmt.catalog import FileRecord
from mgmt.errors import ConflictError
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import find_index, look_up
from mgmt.storage import ObjectStore, StoredObject


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
        store.delete(key, only=stored.etag)
    store.delete(index_key)


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
    if archive.index_key is not None:
        store.delete(archive.index_key)
    return True


def put_index(store: ObjectStore, key: str, index_key: str, path: str, archive_id: str) -> None:
    """Store the index at `path`. Its key contains this archive's own id: an interrupted run's index is replaced."""
    for attempt in (1, 2):
        with open(path, "rb") as file:
            try:
                store.put(index_key, file, size=os.path.getsize(path), metadata={OPERATION: archive_id})
                return
            except ConflictError:
                if attempt == 2 or not remove_index(store, key, index_key, archive_id):
                    raise
