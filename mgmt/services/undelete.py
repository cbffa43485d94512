"""Bring a deleted archive back from the older versions in its bucket: the same version, with its index."""

from dataclasses import dataclass

from mgmt.catalog import FileRecord, FileStatus, Role, UndeleteRecord
from mgmt.errors import ConfigurationError, ConflictError, NotFoundError, RefusedError, StoreError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import content_claim
from mgmt.services.steps.index_keys import OPERATION, SUFFIX, index_key
from mgmt.services.steps.indexes import look_up, open_index
from mgmt.services.steps.removal import uncover
from mgmt.services.steps.resolve import AmbiguousNameError, Archive, known_archives, note_stored, recorded
from mgmt.services.steps.versions import head_version, is_of, own_index_key, versions_at
from mgmt.signals import finish_first
from mgmt.storage import KeyVersions, ObjectStore, StoredObject
from mgmt.words import shell_word


def undelete(name: str, context: Context) -> UndeleteRecord:
    """Bring back the deleted archive that `name` means, and its index. One that is there already is left as it is.

    Raises RefusedError if the store keeps no versions, or none of it is left; ConflictError if its key holds another
    archive by now.
    """
    found, journal = _find(name, context), context.catalog.journal
    archive, store = found.archive, found.archive.store
    record = UndeleteRecord(
        target_path=archive.url,
        target_name=archive.key,
        command_args=dict(context.command_args),
        parent_id=context.parent,
    )
    digest = archive.record.digest if archive.record is not None else None
    claim = archive.url if digest is None else content_claim(digest)
    with journal.record(record, claim=claim) as record:
        found = _look(archive, name)  # it may have changed before this operation had its claim
        if archive.record is not None:
            journal.link(record, archive.record, Role.ARCHIVE)
        record.details = {"version_id": found.version_id, "index": found.index_key}
        journal.checkpoint()
        finish_first()
        # The index first: an interruption leaves an index without an archive, never the reverse.
        markers = []
        if found.index_key is not None and found.index_version is not None:
            markers += uncover(store, found.index_key, found.index_version)
        if found.hidden:
            markers += uncover(store, archive.key, found.version_id)
        stored = _confirmed(archive, found)
        record.details = {**record.details, "markers": markers}
        if archive.record is not None:
            _note_back(archive.record, stored, found, context)
    return record


@dataclass(frozen=True, slots=True)
class _Found:
    """The version to bring back, and that of its index."""

    archive: Archive
    version_id: str
    hidden: bool
    """A delete marker hides it; otherwise it is there."""
    size: int
    index_key: str | None
    index_version: str | None
    """None if nothing is left of the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an undelete would do. `state` is deleted, or stored if it is there already."""

    type: str = "preview"
    object: str
    size: int
    version_id: str
    state: str
    index: str | None


def preview(name: str, context: Context) -> Preview:
    """What `undelete` would do with `name`, refusals included; changes nothing."""
    found = _find(name, context)
    return Preview(
        object=found.archive.url,
        size=found.size,
        version_id=found.version_id,
        state="deleted" if found.hidden else "stored",
        index=found.index_key if found.index_version is not None else None,
    )


def _find(name: str, context: Context) -> _Found:
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
        raise _taken(store, key, hidden=versions_at(store, key).hidden_by is not None)
    return _look(recorded(meant, context), name)


def _unrecorded(name: str, context: Context) -> _Found:
    store = context.open_store(None)
    for key in (name, f"{name}.tar.gz"):
        try:
            there = KeyVersions() if key.endswith(SUFFIX) else versions_at(store, key)
        except ConfigurationError:  # no object can have such a key
            continue
        if there.versions:
            return _look(Archive(key, lambda: store, None), name)
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


def _look(archive: Archive, name: str) -> _Found:
    """What is there of `archive` now. Raises ConflictError when its key holds another one."""
    store, key = archive.store, archive.key
    newest, there = _newest(store, key, name), versions_at(store, key)
    if archive.record is not None and not is_of(archive.record, newest):
        raise _taken(store, key, hidden=there.hidden_by is not None)
    if archive.record is None and OPERATION not in newest.metadata:
        raise RefusedError(f"{store.location(key)} is not an archive of mgmt")
    own = own_index_key(archive.record) if archive.record else index_key(key, newest.metadata[OPERATION])
    index = versions_at(store, own) if own is not None else KeyVersions()
    return _Found(
        archive=archive,
        version_id=newest.version_id or there.versions[0],
        hidden=there.hidden_by is not None,
        size=newest.size,
        index_key=own,
        index_version=index.versions[0] if index.versions else None,
    )


def _taken(store: ObjectStore, key: str, *, hidden: bool) -> ConflictError:
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


def _confirmed(archive: Archive, found: _Found) -> StoredObject:
    """The archive as it is there now. Raises ConflictError if something else happened to its key meanwhile."""
    stored = look_up(archive.store, archive.key)
    if stored is None:
        raise ConflictError(f"{archive.url} was deleted again meanwhile", next_step=f"mgmt undelete {archive.word}")
    if stored.version_id not in (None, found.version_id):
        raise _taken(archive.store, archive.key, hidden=False)
    return stored


def _note_back(record: FileRecord, stored: StoredObject, found: _Found, context: Context) -> None:
    catalog = context.catalog
    with catalog.transaction():
        record.status, record.error_message = FileStatus.COMPLETED, None
        record.index_key = found.index_key
        note_stored(record, stored)
        catalog.journal.checkpoint()
    complete = catalog.members.count(record.id) == record.member_count
    if found.index_key is not None and found.index_version is not None and not complete:
        with open_index(found.archive.store, found.index_key, stored.size) as index:
            catalog.members.record(record.id, index.members())
