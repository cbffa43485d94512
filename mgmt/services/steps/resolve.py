"""Resolve a NAME to an archive: a key, an archive's name, an original's name or path, or an operation id."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from mgmt.catalog import (
    Catalog,
    DeleteRecord,
    FileRecord,
    FileStatus,
    Location,
    Place,
    Role,
    UploadRecord,
    this_host,
)
from mgmt.errors import ConfigurationError, NotFoundError
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION, SUFFIX
from mgmt.storage import ObjectStore, StoredObject
from mgmt.words import operand, shell_word

if TYPE_CHECKING:
    from mgmt.archive import Index


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive, where it lives, and what the catalog knows of it (nothing, if only the store has it)."""

    key: str
    open_store: Callable[[], ObjectStore]
    """Opens its store, unless it is open: to import boto3 takes longer than what the catalog alone answers."""
    record: FileRecord | None

    @property
    def store(self) -> ObjectStore:
        """Its store. Raises ConfigurationError or StoreUnavailableError where it cannot be opened."""
        return self.open_store()

    @property
    def url(self) -> str:
        """Its full URL. A store that need not be opened for it is not."""
        return self.store.location(self.key) if self.record is None else f"{self.record.store}/{self.key}"

    @property
    def word(self) -> str:
        """What means this archive and no other, at the end of a command: its URL if the catalog knows it."""
        return operand(self.key) if self.record is None else shell_word(self.url)


def find_archive(name: str, context: Context, *, strictly: bool = False) -> Archive:
    """Return the one archive that `name` means; ask the store itself when the catalog has none.

    With `strictly`, for whatever removes, a name of a deleted archive never matches another one. Raises NotFoundError,
    or AmbiguousNameError listing the archives when `name` matches several.
    """
    catalog = context.catalog
    known = known_archives(name, catalog, strictly=strictly)
    found = [each for each in known if each.status == FileStatus.COMPLETED]
    if strictly and known and not found:
        raise _already_deleted(name, known[0], catalog)
    if len(found) > 1:
        urls = ", ".join(sorted(f"{each.store}/{each.s3_object_key}" for each in found)[:10])
        raise AmbiguousNameError(f"{name!r} matches {len(found)} archives: {urls}", next_step="use one of these URLs")
    if found:
        return recorded(found[0], context)
    store = context.open_store(None)
    for key in (name, f"{name}.tar.gz"):
        try:
            if not key.endswith(SUFFIX):
                return Archive(store.head(key).key, lambda: store, None)
        except (NotFoundError, ConfigurationError):  # no object can have such a key
            continue
    if known:
        raise _already_deleted(name, known[0], catalog)
    raise NotFoundError(
        f"{name!r} is neither an archive in the catalog nor a key in {store.url}",
        next_step=f"mgmt search {operand(name)}",
    )


def recorded(record: FileRecord, context: Context) -> Archive:
    """The archive of `record`."""
    return Archive(str(record.s3_object_key), partial(context.open_store, record.store), record)


def known_archives(name: str, catalog: Catalog, *, strictly: bool = True, deleted: bool = False) -> list[FileRecord]:
    """The archives that `name` can mean; the id of an operation means those that it made, used or found.

    With `deleted`, those that are deleted as well as the stored ones of the same name.
    """
    try:
        operation = catalog.metadata.require_operation(name)
    except NotFoundError:
        return catalog.metadata.find(name, this_host(), strictly=strictly, deleted=deleted)
    found = [archive for archive, _ in catalog.metadata.files_of(operation, Role.ARCHIVE)]
    if isinstance(operation, UploadRecord) and operation.digest is not None:
        # An older mgmt may have linked an upload to a later archive with the same key.
        found = [archive for archive in found if archive.digest == operation.digest]
    return found


def _already_deleted(name: str, archive: FileRecord, catalog: Catalog) -> NotFoundError:
    deletions = [each for each in catalog.metadata.operations_of(archive) if isinstance(each, DeleteRecord)]
    when = next((f" at {each.completed_at:%Y-%m-%d %H:%M:%S} UTC" for each in deletions if each.completed_at), "")
    return NotFoundError(
        f"{name!r} means {archive.store}/{archive.s3_object_key}, which was deleted{when}",
        next_step=f"mgmt {'log --target' if archive.version_id is None else 'undelete'} {shell_word(name)}",
    )


def archive_id(record: UploadRecord) -> str:
    """The id that the archive of `record` carries: that of the operation that began it."""
    return record.archive_id or record.operation_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFacts:
    """All that is known of an archive in a store: what its record is made of. Sizes are in bytes."""

    store: ObjectStore
    stored: StoredObject
    index: "Index"
    index_key: str | None
    original_size: int
    operation_id: str | None = None
    """The upload that made it, if this catalog knows one."""
    proof: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def save_archive(facts: ArchiveFacts, catalog: Catalog, *, replace_members: bool = False) -> FileRecord:
    """Record what is needed to find an archive, to prove it again and to restore it, its members included.

    Members that are already recorded are kept unless their number differs or with `replace_members`. Facts that are
    recorded of the same archive and not known better now are kept. Another archive that was recorded under this key no
    longer exists, and its record is marked as deleted.
    """
    store, stored, index, tags = facts.store, facts.stored, facts.index, facts.tags
    own = stored.metadata.get(OPERATION) or index.header.operation_id or None
    try:
        known = catalog.metadata.require_file_record(Place(Location.S3, store.url, stored.key))
        same = known.archive_id == own if known.archive_id else known.digest == index.end.digest
        same = same and known.status != FileStatus.DELETED
        established = same and known.archive_id is not None
    except NotFoundError:
        same = established = False
    record = FileRecord(
        name=os.path.basename(stored.key),
        path=stored.key,
        location=Location.S3,
        store=store.url,
        s3_bucket=store.bucket,
        s3_object_key=stored.key,
        storage_class=stored.storage_class,
        size=stored.size,
        etag=stored.etag,
        mime_type="application/gzip",
        modified_at=stored.last_modified,
        stored_at=stored.last_modified,
        checksum=index.end.checksum or None,
        object_checksum=index.end.checksum or None,
        index_key=facts.index_key,
        archive_id=own,
        digest=index.end.digest,
        kept=index.end.kept,
        original_size=facts.original_size,
        member_count=index.end.members,
        operation_id=facts.operation_id,
        proof=facts.proof,
        proven_at=datetime.now(UTC) if facts.proof else None,
        tags=dict(tags),
        status=FileStatus.COMPLETED,
    )
    note_stored(record, stored)
    if same:
        _keep_known(record, known, facts)
    with catalog.transaction():
        saved = catalog.metadata.save_file_record(record)
        # A record without an archive id may have the members of another archive.
        if replace_members or not established or catalog.members.count(saved.id) != index.end.members:
            catalog.members.record(saved.id, index.members())
    return saved


def _keep_known(record: FileRecord, known: FileRecord, facts: ArchiveFacts) -> None:
    """Keep in `record` what is `known` of the same archive, and not known better now."""
    record.operation_id = known.operation_id or facts.operation_id
    record.tags = {**known.tags, **facts.tags}
    record.kept = known.kept if record.kept is None else record.kept
    if facts.proof is None:
        record.proof, record.proven_at = known.proof, known.proven_at
    if not facts.stored.metadata:  # a listing says nothing of these
        record.version_id, record.legal_hold = known.version_id, known.legal_hold
        record.lock_mode, record.locked_until = known.lock_mode, known.locked_until


def note_stored(record: FileRecord, stored: StoredObject) -> None:
    """Record which version of its object an archive is, and what keeps it from being removed."""
    record.version_id = stored.version_id
    record.lock_mode, record.locked_until = stored.lock_mode, stored.locked_until
    record.legal_hold = stored.legal_hold


class AmbiguousNameError(ConfigurationError):
    """A name matches several archives: the user has to choose."""
