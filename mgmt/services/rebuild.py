"""Rebuild the catalog's archives and members from the indexes in the store, without reading the archives."""

from datetime import UTC, datetime

from mgmt.archive import Index
from mgmt.catalog import Catalog, IgnoredKeys, Location, Place, RebuildRecord, Role, Status, UploadRecord
from mgmt.errors import IntegrityError, NotFoundError, NotReadyError, PartialError, StoreError, StoreUnavailableError
from mgmt.progress import NoProgress
from mgmt.services.steps import orphans
from mgmt.services.steps.adoption import contradiction, prove_claimed
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION, SUFFIX, archive_key, index_key, is_index_key
from mgmt.services.steps.indexes import look_up, open_index
from mgmt.services.steps.resolve import ArchiveFacts, archive_id, save_archive
from mgmt.storage import ObjectStore, StoredObject, has_etag, is_key


def rebuild(context: Context) -> RebuildRecord:
    """Record every archive of the configured store that has an index; update what is already recorded.

    `record.details` counts `archives`, `members` and `interrupted` uploads, and lists what was `left_out`, and what is
    `foreign`. Raises PartialError at the end if an object that may be an archive had no usable index.
    """
    store, catalog, progress = context.open_store(None), context.catalog, context.progress
    record = RebuildRecord(target_path=store.url, target_name=store.url, command_args=dict(context.command_args))
    archives = members = 0
    left_out: list[str] = []
    try:
        with catalog.journal.record(record, claim=f"rebuild {store.url}") as record:
            progress.start(f"rebuild from {store.url}")
            objects, indexes_of, foreign = _listed(store, catalog.metadata.ignored_keys(store.url))
            stray: list[str] = []
            for stored in objects.values():
                try:
                    key = _own_index(store, stored, indexes_of.get(stored.key, []))
                    stray += [each for each in indexes_of[stored.key] if each != key]
                    with open_index(store, key, stored.size) as index:
                        facts = _facts(stored, key, index, store, catalog)
                        with catalog.transaction():
                            archive = save_archive(facts, catalog, replace_members=True)
                            catalog.journal.link(record, archive, Role.RESULT)
                        members += index.end.members
                        archives += 1
                except StoreUnavailableError:
                    raise
                except (IntegrityError, NotFoundError, StoreError) as exc:
                    left_out.append(f"{stored.key}: {exc}")
            stray += [key for archive, keys in indexes_of.items() if archive not in objects for key in keys]
            interrupted = sum(_record_interrupted(key, store, catalog) for key in stray)
            counts = {"archives": archives, "members": members, "interrupted": interrupted}
            record.details = {**counts, "left_out": left_out[:1000], "foreign": foreign[:1000]}
            if left_out:
                catalog.journal.checkpoint()
                total = archives + len(left_out)
                raise PartialError(
                    f"{archives} archives are recorded; {len(left_out)} of {total} objects have no usable index; "
                    f"first: {left_out[0]}",
                    next_step="mgmt verify --all\n# names each, and what to do about it",
                )
        catalog.members.index_names()
    finally:
        progress.stop()
    return record


def _listed(
    store: ObjectStore, ignored: IgnoredKeys
) -> tuple[dict[str, StoredObject], dict[str, list[str]], list[str]]:
    """The archives of `store` by their keys, the keys of the indexes of each key, and the keys that are not of mgmt.

    Without what is `ignored`, unless an index says that it is an archive.
    """
    objects: dict[str, StoredObject] = {}
    passed: dict[str, StoredObject] = {}
    indexes: dict[str, list[str]] = {}
    foreign: list[str] = []
    for stored in store.list():
        if stored.key in ignored:
            passed[stored.key] = stored
        elif not is_key(stored.key) or (stored.key.endswith(SUFFIX) and not is_index_key(stored.key)):
            foreign.append(stored.key)
        elif stored.key.endswith(SUFFIX):
            indexes.setdefault(archive_key(stored.key), []).append(stored.key)
        else:
            objects[stored.key] = stored
    return {**objects, **{key: passed[key] for key in indexes if key in passed}}, indexes, foreign


def _record_interrupted(key: str, store: ObjectStore, catalog: Catalog) -> bool:
    """Record the interrupted upload that left the index at `key`, which no archive has; `mgmt recover` removes it then.

    Returns False when the upload is recorded already, or may still be running, in another catalog.
    """
    try:
        stored = look_up(store, key)
        if stored is None or (made_by := stored.metadata.get(OPERATION)) is None:
            return False
        if orphans.may_be_resumed(store, archive_key(key), stored):
            return False
    except StoreUnavailableError:
        raise
    except StoreError:
        return False  # what may not be looked at is somebody else's, or may still be running
    now = store.clock() or datetime.now(UTC)
    if stored.last_modified is None or now - stored.last_modified < orphans.OLD or _is_known(made_by, catalog):
        return False
    archive = archive_key(key)
    location = store.location(archive)
    with catalog.journal.record(UploadRecord(target_path=location, target_name=archive)) as record:
        record.store, record.s3_bucket, record.s3_object_key = store.url, store.bucket, archive
        record.index_key, record.archive_id = key, made_by
        record.status, record.error_message = Status.CANCELLED, "interrupted; found by `mgmt db rebuild`"
    return True


def _is_known(made_by: str, catalog: Catalog) -> bool:
    return catalog.metadata.get_operation(made_by) is not None or made_by in map(
        archive_id, catalog.metadata.unfinished_uploads()
    )


def _own_index(store: ObjectStore, stored: StoredObject, indexes: list[str]) -> str:
    """The key of the index that the archive itself names; an upload that lost a race for the key may have left one."""
    if not indexes:
        raise NotFoundError("it has no index")
    if len(indexes) == 1:
        return indexes[0]
    operation_id = store.head(stored.key).metadata.get(OPERATION, "")
    own = index_key(stored.key, operation_id)
    if own not in indexes:
        raise NotFoundError("it has no index")
    return own


def _facts(stored: StoredObject, key: str, index: Index, store: ObjectStore, catalog: Catalog) -> ArchiveFacts:
    """What to record of an archive; it is read if its index contradicts its record."""
    if index.end.size != stored.size:
        raise IntegrityError(f"it has {stored.size} bytes, its index says {index.end.size}")
    known = catalog.metadata.get_file_record(Place(Location.S3, store.url, stored.key))
    proof = None
    if known is not None and known.proof is not None and (wrong := contradiction(known, index)):
        # The object itself carries its archive id; if it carries none, another object has another ETag.
        carried = store.head(stored.key).metadata.get(OPERATION)
        if known.archive_id == carried if carried is not None else has_etag(stored, known.etag):
            proof = _read(stored, index, store, wrong)
    size = sum(member.size for member in index.members())
    return ArchiveFacts(store=store, stored=stored, index=index, index_key=key, original_size=size, proof=proof)


def _read(stored: StoredObject, index: Index, store: ObjectStore, wrong: str) -> str:
    """The record and the index contradict each other: read the archive, which is what the index says or is not."""
    try:
        return prove_claimed(store, stored, index, NoProgress())[0]
    except (IntegrityError, NotReadyError) as exc:
        raise IntegrityError(f"its index is not its own ({wrong}): what was proven stays recorded") from exc
