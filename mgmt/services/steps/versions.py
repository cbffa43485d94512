"""The versions of an archive that a versioned bucket keeps: which they are, and what hides them.

A version is known by the id of the archive that it carries, as any object is: keys are used again.
"""

from urllib.parse import quote

from mgmt.catalog import FileRecord, FileStatus
from mgmt.errors import NotFoundError, RefusedError, StoreError, StoreUnavailableError
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION, index_key
from mgmt.services.steps.resolve import AmbiguousNameError, Archive, find_archive, known_archives, recorded
from mgmt.storage import KeyVersions, ObjectStore, StoredObject, has_etag
from mgmt.words import shell_word


def versions_at(store: ObjectStore, key: str) -> KeyVersions:
    """The versions at `key`; none where the store can have none."""
    if store.versions is None:
        return KeyVersions()
    try:
        return store.versions.of(key)
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        raise RefusedError(
            f"{store.url} does not list versions of objects: {exc.message}",
            next_step="allow s3:ListBucketVersions, if the bucket is versioned",
        ) from exc


def own_versions(store: ObjectStore, key: str, record: FileRecord | None) -> list[StoredObject]:
    """The versions at `key` that are the archive of `record`, the newest first."""
    if store.versions is None or record is None:
        return []
    found = (head_version(store, key, each) for each in versions_at(store, key).versions)
    return [each for each in found if each is not None and is_of(record, each)]


def head_version(store: ObjectStore, key: str, version_id: str) -> StoredObject | None:
    """A version of an object; None when it was removed meanwhile."""
    if store.versions is None:
        return None
    try:
        return store.versions.head(key, version_id)
    except NotFoundError:
        return None


def is_of(record: FileRecord, stored: StoredObject) -> bool:
    """Whether `stored` is the archive of `record`."""
    carried = stored.metadata.get(OPERATION)
    if None not in (carried, record.archive_id):
        return carried == record.archive_id
    return has_etag(stored, record.etag) and stored.size == record.size


def own_index_key(record: FileRecord) -> str | None:
    """The key of the index of an archive; None if it has none."""
    if record.index_key is None and record.archive_id is not None:
        return index_key(str(record.s3_object_key), record.archive_id)
    return record.index_key


def find_kept(name: str, context: Context) -> Archive:
    """Like `find_archive`, strictly; but a name that means no stored archive may mean a deleted one.

    Raises AmbiguousNameError when it means several: only an operation id tells archives of one key apart.
    """
    try:
        return find_archive(name, context, strictly=True)
    except NotFoundError:
        known = [each for each in known_archives(name, context.catalog) if each.status is FileStatus.DELETED]
        found = [each for each in known if each.version_id is not None] or known
        if not found:
            raise
    if len(found) > 1:
        ids = ", ".join(f"{each.operation_id} ({each.store}/{each.s3_object_key})" for each in found[:10])
        raise AmbiguousNameError(
            f"{name!r} matches {len(found)} deleted archives: {ids}", next_step="use the id of one of these uploads"
        )
    return recorded(found[0], context)


def is_as_recorded(record: FileRecord, stored: StoredObject) -> bool:
    """Whether this version of the archive of `record` is the recorded object, as far as ETag and size tell."""
    return (record.etag is None or has_etag(stored, record.etag)) and record.size in (None, stored.size)


def how_to_copy_older(store: ObjectStore, record: FileRecord, then: str = "mgmt verify") -> str | None:
    """The command that copies the version that is the recorded object over a newer one that is not; None without it."""
    key = str(record.s3_object_key)
    try:
        versions = own_versions(store, key, record)
    except StoreUnavailableError:
        raise
    except (StoreError, RefusedError):
        return None
    if not versions or is_as_recorded(record, versions[0]):
        return None
    older = next((each.version_id for each in versions[1:] if is_as_recorded(record, each)), None)
    if older is None:
        return None
    bucket, _, whole = store.location(key).removeprefix("s3://").partition("/")
    source = shell_word(f"{quote(f'{bucket}/{whole}')}?versionId={older}")
    return (
        f"aws s3api copy-object --bucket {shell_word(bucket)} --key {shell_word(whole)} --copy-source {source}\n"
        f"# an older version of it is in the bucket; then: {then} {shell_word(store.location(key))}"
    )


def how_to_bring_back(store: ObjectStore, record: FileRecord) -> str | None:
    """The command that brings back the missing archive of `record`, if only a delete marker hides it."""
    key = str(record.s3_object_key)
    try:
        there = versions_at(store, key)
        if there.hidden_by is None or not there.versions:
            return None
        newest = head_version(store, key, there.versions[0])
    except StoreUnavailableError:
        raise
    except (StoreError, RefusedError):
        return None
    if newest is None or not is_of(record, newest):
        return None
    return f"mgmt undelete {shell_word(f'{record.store}/{key}')}\n# a delete marker hides it, and nothing else is lost"
