"""Which version of which archive an undelete means, and what is in its way."""

from dataclasses import dataclass

from mgmt.catalog import FileRecord
from mgmt.errors import ConfigurationError, ConflictError, NotFoundError, RefusedError, StoreError
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION, SUFFIX, index_key
from mgmt.services.steps.removal import refuse_nameless
from mgmt.services.steps.resolve import AmbiguousNameError, Archive, known_archives, recorded
from mgmt.services.steps.versions import (
    head_version,
    how_to_copy_older,
    is_as_recorded,
    is_of,
    own_index_key,
    versions_at,
)
from mgmt.storage import KeyVersions, ObjectStore, StoredObject
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True)
class Deleted:
    """The version to bring back, and that of its index."""

    archive: Archive
    version_id: str
    hidden: bool
    """A delete marker hides it; otherwise it is there."""
    size: int
    index_key: str | None
    index_version: str | None
    """None if nothing is left of the index."""


def find_deleted(name: str, context: Context) -> Deleted:
    """The version that `name` means. What the catalog does not know is looked for in the configured store."""
    known = known_archives(name, context.catalog, deleted=True)
    if not known:
        return _unrecorded(name, context)
    urls = sorted({f"{each.store}/{each.s3_object_key}" for each in known})
    if len(urls) > 1:
        raise AmbiguousNameError(
            f"{name!r} matches {len(urls)} archives: {', '.join(urls[:10])}", next_step="use one of these URLs"
        )
    store, key = context.open_store(known[0].store), str(known[0].s3_object_key)
    newest = _newest(store, key, name)
    meant = next((each for each in known if is_of(each, newest)), None)
    if meant is None:
        raise taken_error(store, key, hidden=versions_at(store, key).hidden_by is not None)
    return look_at(recorded(meant, context), name)


def _unrecorded(name: str, context: Context) -> Deleted:
    store = context.open_store(None)
    for key in (name, f"{name}.tar.gz"):
        try:
            there = KeyVersions() if key.endswith(SUFFIX) else versions_at(store, key)
        except ConfigurationError:  # no object can have such a key
            continue
        if there.versions:
            return look_at(Archive(key, lambda: store, None), name)
    raise NotFoundError(
        f"{name!r} is neither an archive in the catalog nor a deleted object in {store.url}",
        next_step=f"mgmt log --target {shell_word(name)}",
    )


def _newest(store: ObjectStore, key: str, name: str) -> StoredObject:
    """The newest version at `key`. Raises RefusedError when there is none, with the reason."""
    if store.versions is None:
        raise _gone(f"{store.url} is a directory, which keeps nothing of what was deleted", name)
    there = versions_at(store, key)
    newest = head_version(store, key, there.versions[0]) if there.versions else None
    if newest is not None:
        return newest
    try:
        status = store.versions.status()
    except StoreError:
        status = "unknown"
    if status is None:
        raise _gone(f"{store.url} is not versioned, so nothing is left of {store.location(key)}", name)
    raise _gone(f"no version is left of {store.location(key)}: it was purged, or has expired", name)


def _gone(why: str, name: str) -> RefusedError:
    return RefusedError(why, next_step=f"mgmt log --target {shell_word(name)}\n# then: mgmt undo ID, from another copy")


def look_at(archive: Archive, name: str) -> Deleted:
    """What is there of `archive` now. Raises ConflictError when its key holds another one."""
    store, key = archive.store, archive.key
    newest, there = _newest(store, key, name), versions_at(store, key)
    if archive.record is not None and not is_of(archive.record, newest):
        raise taken_error(store, key, hidden=there.hidden_by is not None)
    if archive.record is None and OPERATION not in newest.metadata:
        raise RefusedError(f"{store.location(key)} is not an archive of mgmt")
    own = own_index_key(archive.record) if archive.record else index_key(key, newest.metadata[OPERATION])
    index = versions_at(store, own) if own is not None else KeyVersions()
    refuse_nameless(store, key, [there.hidden_by, index.hidden_by])
    if archive.record is not None and not is_as_recorded(archive.record, newest):
        _refuse_other_version(archive, archive.record, newest)
    return Deleted(
        archive=archive,
        version_id=newest.version_id or there.versions[0],
        hidden=there.hidden_by is not None,
        size=newest.size,
        index_key=own,
        index_version=index.versions[0] if index.versions else None,
    )


def _refuse_other_version(archive: Archive, record: FileRecord, newest: StoredObject) -> None:
    """Raise RefusedError for a newest version of the archive that is not the object that was recorded."""
    where = archive.store.location(archive.key)
    older = how_to_copy_older(archive.store, record, "mgmt undelete")
    step = older or f"remove its delete marker in the S3 console\n# then: mgmt verify --read-back {shell_word(where)}"
    raise RefusedError(
        f"the newest version of {where} ({newest.version_id}) is not the object that was recorded: it may be damaged",
        next_step=step,
    )


def taken_error(store: ObjectStore, key: str, *, hidden: bool) -> ConflictError:
    """The error for a key that holds another archive, or held one since if that is `hidden`."""
    where = store.location(key)
    if hidden:
        return ConflictError(
            f"{where} held another archive since, which is deleted as well",
            next_step=f"mgmt status {shell_word(where)}\n# mgmt delete --purge ID removes the later one for good",
        )
    return ConflictError(
        f"{where} holds another archive by now, and nothing is ever overwritten",
        next_step=f"mgmt status {shell_word(where)}",
    )
