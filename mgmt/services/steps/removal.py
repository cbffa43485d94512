"""The only place that removes an object from a store.

An archive goes by `mgmt delete` alone. An upload may take back what it has itself just put there and found wrong, and
an index that describes no archive is litter. Parts of an upload that was never completed are no object.
"""

from mgmt.errors import ConflictError, NotFoundError
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import find_index, look_up
from mgmt.storage import ObjectStore, StoredObject


def remove_archive(store: ObjectStore, stored: StoredObject) -> None:
    """Remove this very archive, for `mgmt delete`. Raises ConflictError when its key holds another object by now.

    The archive goes before its index: what is cut off here leaves an index without an archive, never the reverse.
    """
    index = find_index(store, stored)
    store.delete(stored.key, only=stored.etag)
    if index is not None:
        store.delete(index)


def take_back(store: ObjectStore, key: str, index_key: str, archive_id: str) -> None:
    """Remove the archive that this process has just completed, and that is not what it has sent."""
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION) == archive_id:
        store.delete(key, only=stored.etag)
    store.delete(index_key)


def remove_index(store: ObjectStore, key: str, index_key: str, archive_id: str) -> bool:
    """Remove the index that the upload `archive_id` has put beside `key`, unless its archive is there.

    Returns whether the archive is not there. An object that does not say whose it is may be that archive.
    """
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION, archive_id) == archive_id:
        return False
    store.delete(index_key)
    return True


def remove_remains(store: ObjectStore, key: str, index_key: str | None) -> bool:
    """Remove what is left of an archive whose object is gone: its index, and what a directory knows of it beside it.

    Returns False, and removes nothing, when `key` holds an object.
    """
    try:
        store.head(key)
    except NotFoundError:
        pass
    else:
        return False
    try:
        store.delete(key, only="")
    except ConflictError:
        return False
    if index_key is not None:
        store.delete(index_key)
    return True
