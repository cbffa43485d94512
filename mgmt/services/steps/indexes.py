"""Read and write the index of an archive."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mgmt.archive import Archived, Index, IndexEnd, IndexHeader, IndexWriter, largest_index, rebuild_index
from mgmt.errors import IntegrityError, NotFoundError
from mgmt.services.steps.index_keys import OPERATION, SUFFIX, index_key
from mgmt.services.steps.scratch import scratch_folder
from mgmt.storage import ObjectStore, Sent, StoredObject


def look_up(store: ObjectStore, key: str) -> StoredObject | None:
    """The object at `key`; None when there is none."""
    try:
        return store.head(key)
    except NotFoundError:
        return None


def find_index(store: ObjectStore, archive: StoredObject) -> str | None:
    """The key of the index that `archive` names; None when there is none."""
    if operation_id := archive.metadata.get(OPERATION):
        own = index_key(archive.key, operation_id)
        return own if look_up(store, own) else None
    return next((each.key for each in store.list(archive.key + ".") if each.key.endswith(SUFFIX)), None)


@contextmanager
def open_index(store: ObjectStore, key: str, object_size: int) -> Iterator[Index]:
    """The index at `key` of an archive of `object_size` bytes, as a local file while the block runs.

    The file never grows larger than the index of such an archive can be. Raises NotFoundError or IntegrityError.
    """
    with scratch_folder() as folder:
        path = os.path.join(folder, "index")
        room = largest_index(object_size)
        with open(path, "wb") as file:
            for chunk in store.stream(key):
                if (room := room - len(chunk)) < 0:
                    raise IntegrityError(f"{store.location(key)} is larger than an index of its archive can be")
                file.write(chunk)
        try:
            index = Index.open(path, object_size=object_size)
        except IntegrityError as exc:
            raise IntegrityError(exc.message.replace(path, store.location(key)), next_step=exc.next_step) from exc
        yield index


@contextmanager
def made_index(store: ObjectStore, archive: StoredObject) -> Iterator[Index]:
    """An index for an archive without one, made by reading the archive. Raises IntegrityError if it is no tar.gz."""
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
        yield Index.open(path, object_size=archive.size)


@contextmanager
def any_index(store: ObjectStore, archive: StoredObject) -> Iterator[Index]:
    """The index of `archive`, made by reading the archive where the store has none."""
    key = find_index(store, archive)
    with open_index(store, key, archive.size) if key else made_index(store, archive) as index:
        yield index


def finish_index(index: IndexWriter, archived: Archived, sent: Sent) -> None:
    """Write the end of the index: what was `archived`, and the object that it was `sent` as."""
    end = IndexEnd(
        digest=archived.digest,
        kept=archived.kept,
        size=sent.size,
        checksum=sent.checksum or "",
        tar_size=archived.tar_size,
        tar_crc32=archived.tar_crc32,
        part_size=sent.part_size,
        members=archived.members,
        blocks=archived.blocks,
    )
    index.finish(end)


def as_sent(index: Index) -> Sent:
    """The object that `index` says its archive is."""
    end = index.end
    parts = -(-end.size // end.part_size) if end.part_size else 1
    return Sent(size=end.size, checksum=end.checksum or None, parts=parts, part_size=end.part_size)
