"""What a deletion leaves in a versioned bucket, and the removal of that."""

from mgmt.catalog import DeleteRecord, FileStatus
from mgmt.errors import NotFoundError, RefusedError, StoreError, StoreUnavailableError
from mgmt.services.steps.index_keys import OPERATION, index_key
from mgmt.services.steps.indexes import look_up
from mgmt.services.steps.locked import refuse_locked
from mgmt.services.steps.removal import refuse_nameless, remove_versions
from mgmt.services.steps.resolve import Archive
from mgmt.services.steps.versions import head_version, own_index_key, own_versions, versions_at
from mgmt.storage import ObjectStore, StoredObject
from mgmt.words import shell_word

PURGE = "purge"
"""The detail, and the argument, that says that a deletion removes all versions."""


def refuse_unpurgeable(archive: Archive) -> None:
    """Raise RefusedError if the store is to keep a version of the archive or its index; nothing is removed before.

    Raises NotFoundError if the archive is deleted and no version of it is left.
    """
    store, record = archive.store, archive.record
    stored = look_up(store, archive.key)
    versions, indexes = [], []
    if store.versions is not None and (stored is None or stored.version_id is not None):  # it may be versioned
        versions = _of_archive(archive) if record is not None else _unrecorded(store, stored)
        indexes = _of_index(archive, stored)
    if record is not None and record.status is FileStatus.DELETED and not (versions or indexes):
        raise NotFoundError(
            f"{archive.url} is deleted, and no version of it is left",
            next_step=f"mgmt log --target {shell_word(archive.url)}",
        )
    for each in (*versions, *indexes):
        refuse_locked(store, each)
    if store.versions is not None and (versions or indexes):
        _refuse_suspended(archive, stored, [*versions, *indexes])


def _refuse_suspended(archive: Archive, stored: StoredObject | None, found: list[StoredObject]) -> None:
    """Raise RefusedError where the removal of a version or delete marker could be that of another object."""
    store = archive.store
    there = versions_at(store, archive.key)
    # The deletion of what is there makes a marker, which a bucket whose versioning is suspended calls "null".
    makes_nameless = stored is not None and store.versions is not None and store.versions.status() == "Suspended"
    ids = [each.version_id for each in found] + ["null"] * (makes_nameless or "null" in there.markers)
    refuse_nameless(store, archive.key, ids)


def remove_all_versions(archive: Archive, stored: StoredObject | None) -> dict[str, object]:
    """Remove every version of the archive and of its index; return what was removed, for the record."""
    store = archive.store
    if store.versions is None or (stored is not None and stored.version_id is None):
        return {"purged": 0}
    versions = _of_archive(archive) if archive.record is not None else _unrecorded(store, stored)
    indexes = _of_index(archive, stored)
    for found in (versions, indexes):
        if found:
            remove_versions(store, found[0].key, [str(each.version_id) for each in found])
    ids = [f"{each.key} {each.version_id}" for each in (*versions, *indexes)]
    return {"purged": len(ids), "purged_versions": ids[:100], "purged_size": sum(each.size for each in versions)}


def finish_purge(deletion: DeleteRecord, archive: Archive) -> None:
    """Remove what an interrupted purge of a deleted archive has left. Raises what the store raises if it stays."""
    try:
        removed = remove_all_versions(archive, None)
    except StoreUnavailableError:
        raise
    except (StoreError, RefusedError) as exc:
        step = f"mgmt delete --purge {archive.word}"
        raise RefusedError(
            f"{archive.url} is deleted, but versions of it are left: {exc.message}", next_step=step
        ) from exc
    deletion.details = {**deletion.details, **removed}
    if archive.record is not None:
        archive.record.version_id = None


def remaining(archive: Archive, stored: StoredObject | None) -> dict[str, object]:
    """What a deletion has left of `stored` as an older version, for the record; empty if nothing is left."""
    store = archive.store
    if stored is None or stored.version_id is None:
        return {}
    try:
        there, index = versions_at(store, archive.key), versions_at(store, _index_key(archive, stored) or archive.key)
    except (StoreError, RefusedError):  # it is deleted, and what is left cannot be told
        return {"version_id": stored.version_id}
    if stored.version_id not in there.versions:
        return {}
    left: dict[str, object] = {
        "version_id": stored.version_id,
        "marker_id": there.hidden_by,
        "remaining_size": stored.size,
        "storage_class": stored.storage_class,
    }
    if index.versions and _index_key(archive, stored) is not None:
        left |= {"index_version_id": index.versions[0], "index_marker_id": index.hidden_by}
    return left


def _of_archive(archive: Archive) -> list[StoredObject]:
    return own_versions(archive.store, archive.key, archive.record)


def _unrecorded(store: ObjectStore, stored: StoredObject | None) -> list[StoredObject]:
    """The versions of an archive that the catalog does not know: those with its id."""
    own = stored.metadata.get(OPERATION) if stored is not None else None
    if stored is None or own is None or stored.version_id is None:
        return []
    found = (head_version(store, stored.key, each) for each in versions_at(store, stored.key).versions)
    return [each for each in found if each is not None and each.metadata.get(OPERATION) == own]


def _of_index(archive: Archive, stored: StoredObject | None = None) -> list[StoredObject]:
    """The versions of the index: its key has the id of the archive, and no other one has it."""
    key, store = _index_key(archive, stored), archive.store
    if key is None or store.versions is None:
        return []
    found = (head_version(store, key, each) for each in versions_at(store, key).versions)
    return [each for each in found if each is not None]


def _index_key(archive: Archive, stored: StoredObject | None) -> str | None:
    if archive.record is not None:
        return own_index_key(archive.record)
    own = stored.metadata.get(OPERATION) if stored is not None else None
    return None if own is None else index_key(archive.key, own)
