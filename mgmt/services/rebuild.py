"""Give back the catalog's archives and members from the indexes in the store, without reading an archive."""

from collections.abc import Iterator, Mapping

from mgmt.archive import Index
from mgmt.catalog import Catalog, Location, Place, RebuildRecord, Role
from mgmt.errors import IntegrityError, NotFoundError, NotReadyError, PartialError
from mgmt.progress import NoProgress, Progress
from mgmt.services.steps.adoption import contradiction, prove_claimed
from mgmt.services.steps.index_keys import OPERATION, SUFFIX, archive_key, index_key
from mgmt.services.steps.indexes import open_index
from mgmt.services.steps.resolve import save_archive
from mgmt.storage import ObjectStore, StoredObject


def rebuild(
    store: ObjectStore, catalog: Catalog, progress: Progress, command_args: Mapping[str, object]
) -> RebuildRecord:
    """Record every archive of `store` that has an index; what is recorded already is brought up to date.

    `record.details` counts `archives` and `members`, and lists what was `left_out`. Raises PartialError, when all else
    is done, if an archive had no usable index.
    """
    record = RebuildRecord(target_path=store.url, target_name=store.url, command_args=dict(command_args))
    archives = members = 0
    left_out: list[str] = []
    try:
        with catalog.journal.record(record, claim=f"rebuild {store.url}") as record:
            progress.start(f"rebuild from {store.url}")
            for stored, indexes in _archives(store):
                try:
                    key = _own_index(store, stored, indexes)
                    with open_index(store, key, stored.size) as index:
                        members += _record(stored, key, index, store, catalog, record)
                        archives += 1
                except (IntegrityError, NotFoundError) as exc:
                    left_out.append(f"{stored.key}: {exc}")
            record.details = {"archives": archives, "members": members, "left_out": left_out[:1000]}
            if left_out:
                total = archives + len(left_out)
                raise PartialError(f"{len(left_out)} of {total} objects have no usable index; first: {left_out[0]}")
        catalog.members.index_names()
    finally:
        progress.stop()
    return record


def _archives(store: ObjectStore) -> Iterator[tuple[StoredObject, list[str]]]:
    """Each object with the keys of the indexes that stand beside it."""
    objects: dict[str, StoredObject] = {}
    indexes: dict[str, list[str]] = {}
    for stored in store.list():
        if stored.key.endswith(SUFFIX):
            indexes.setdefault(archive_key(stored.key), []).append(stored.key)
        else:
            objects[stored.key] = stored
    for key, stored in objects.items():
        yield stored, indexes.get(key, [])


def _own_index(store: ObjectStore, stored: StoredObject, indexes: list[str]) -> str:
    """The index that the archive itself names; the loser of a race for a key may have left another one."""
    if len(indexes) == 1:
        return indexes[0]
    operation_id = store.head(stored.key).metadata.get(OPERATION, "")
    own = index_key(stored.key, operation_id)
    if own not in indexes:
        raise NotFoundError("it has no index")
    return own


def _record(
    stored: StoredObject, key: str, index: Index, store: ObjectStore, catalog: Catalog, record: RebuildRecord
) -> int:
    if index.end.size != stored.size:
        raise IntegrityError(f"it has {stored.size} bytes, its index says {index.end.size}")
    try:
        known = catalog.metadata.require_file_record(Place(Location.S3, store.url, stored.key))
    except NotFoundError:
        known = None
    proof = None
    if known is not None and known.proof is not None and (wrong := contradiction(known, index)):
        # Whose archive this is, the object says itself; where it does not, another one has another tag.
        carried = store.head(stored.key).metadata.get(OPERATION)
        if known.archive_id == carried if carried is not None else known.etag == stored.etag:
            proof = _read(stored, index, store, wrong)
    with catalog.transaction():
        size = sum(member.size for member in index.members())
        archive = save_archive(
            stored, store, index, key, catalog, original_size=size, operation_id=None, proof=proof, tags={}, anew=True
        )
        catalog.journal.link(record, archive, Role.RESULT)
    return index.end.members


def _read(stored: StoredObject, index: Index, store: ObjectStore, wrong: str) -> str:
    """The catalog and the index contradict each other: if the archive is what the index says, a record was changed."""
    try:
        return prove_claimed(store, stored, index, NoProgress())[0]
    except (IntegrityError, NotReadyError) as exc:
        raise IntegrityError(f"its index is not its own ({wrong}): what was proven stays recorded") from exc
