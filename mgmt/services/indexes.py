"""The index of an archive, found and at hand."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mgmt.archive import Index, IndexHeader, IndexWriter, rebuild_index
from mgmt.errors import IntegrityError, NotFoundError
from mgmt.services.index_keys import SUFFIX, index_key
from mgmt.services.scratch import scratch_folder
from mgmt.storage import ObjectStore, StoredObject

OPERATION = "mgmt-operation"


def look_up(store: ObjectStore, key: str) -> StoredObject | None:
    """What the store says of `key`; None when it has no such object."""
    try:
        return store.head(key)
    except NotFoundError:
        return None


def find_index(store: ObjectStore, archive: StoredObject) -> str | None:
    """The key of the index of `archive`, which names it itself; None when there is none."""
    if operation_id := archive.metadata.get(OPERATION):
        own = index_key(archive.key, operation_id)
        return own if look_up(store, own) else None
    return next((each.key for each in store.list(archive.key + ".") if each.key.endswith(SUFFIX)), None)


@contextmanager
def open_index(store: ObjectStore, key: str) -> Iterator[Index]:
    """The index at `key`, as a local file while it is used. Raises NotFoundError, IntegrityError."""
    with scratch_folder() as folder:
        path = os.path.join(folder, "index")
        with open(path, "wb") as file:
            for chunk in store.stream(key):
                file.write(chunk)
        yield Index.open(path)


@contextmanager
def made_index(store: ObjectStore, archive: StoredObject) -> Iterator[Index]:
    """An index for an archive that has none, by one pass over the archive. Raises IntegrityError if it is no tar.gz."""
    with scratch_folder() as folder:
        path = os.path.join(folder, "index")
        header = IndexHeader(
            key=archive.key,
            operation_id=archive.metadata.get(OPERATION, ""),
            source="",
            host="",
            user="",
            created_at="",
            level="",
            compressor="",
        )
        with IndexWriter(path, header) as writer:
            rebuild_index(store.stream(archive.key, etag=archive.etag), writer)
        yield Index.open(path)


@contextmanager
def any_index(store: ObjectStore, archive: StoredObject) -> Iterator[Index]:
    """The index of `archive`; made by reading all of it where the store has none."""
    key = find_index(store, archive)
    with open_index(store, key) if key else made_index(store, archive) as index:
        if index.end.size != archive.size:
            raise IntegrityError(f"{archive.key} has {archive.size} bytes, but its index says {index.end.size}")
        yield index
