"""Finding the archive that a name means: a key, an archive's name, an original's name or path, an operation id."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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
from mgmt.services.steps.index_keys import OPERATION, SUFFIX
from mgmt.storage import ObjectStore, StoredObject

if TYPE_CHECKING:
    from mgmt.archive import Index

OpenStore = Callable[[str | None], ObjectStore]
"""Opens the store at a URL; None means the configured one."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive, where it lives, and what the catalog knows of it (nothing, if only the store has it)."""

    key: str
    store: ObjectStore
    record: FileRecord | None


def find_archive(name: str, open_store: OpenStore, catalog: Catalog, *, strictly: bool = False) -> Archive:
    """The one archive that `name` means; the store itself is asked when the catalog has none.

    `strictly` is for what removes: a word that means a deleted archive is never taken for another one. Raises
    NotFoundError, or AmbiguousNameError listing them when it fits several.
    """
    known = _known(name, catalog, strictly=strictly)
    found = [each for each in known if each.status == FileStatus.COMPLETED]
    if strictly and known and not found:
        raise NotFoundError(_deleted_already(name, known[0], catalog), next_step=f"mgmt log --target {name}")
    if len(found) > 1:
        keys = ", ".join(sorted(str(each.s3_object_key) for each in found)[:10])
        raise AmbiguousNameError(f"{name!r} fits {len(found)} archives: {keys}", next_step="use one of these keys")
    if found:
        record = found[0]
        assert record.s3_object_key is not None  # noqa: S101 - every archive has a key
        return Archive(record.s3_object_key, open_store(record.store), record)
    store = open_store(None)
    for key in (name, f"{name}.tar.gz"):
        try:
            if not key.endswith(SUFFIX):
                return Archive(store.head(key).key, store, None)
        except (NotFoundError, ConfigurationError):  # or nothing could ever be stored as that
            continue
    raise NotFoundError(
        f"{name!r} is neither an archive in the catalog nor a key in {store.url}", next_step=f"mgmt search {name}"
    )


def _known(name: str, catalog: Catalog, *, strictly: bool) -> list[FileRecord]:
    """The archives that `name` can mean; an operation's id means those that it made, used or found."""
    try:
        operation = catalog.metadata.require_operation(name)
    except NotFoundError:
        return catalog.metadata.find(name, this_host(), strictly=strictly)
    found = [archive for archive, _ in catalog.metadata.files_of(operation, Role.ARCHIVE)]
    if isinstance(operation, UploadRecord) and operation.digest is not None:
        # In catalogs of older versions an upload may be linked to the archive that has taken the key of its own.
        found = [archive for archive in found if archive.digest == operation.digest]
    return found


def _deleted_already(name: str, archive: FileRecord, catalog: Catalog) -> str:
    deletions = [each for each in catalog.metadata.operations_of(archive) if isinstance(each, DeleteRecord)]
    when = next((f", at {each.completed_at:%Y-%m-%d %H:%M:%S} UTC" for each in deletions if each.completed_at), "")
    return f"{name!r} means {archive.store}/{archive.s3_object_key}, which is deleted already{when}"


def archive_id(record: UploadRecord) -> str:
    """The id that the archive of `record` carries: that of the operation which began it."""
    return record.archive_id or record.operation_id


def save_archive(
    stored: StoredObject,
    store: ObjectStore,
    index: "Index",
    index_key: str | None,
    catalog: Catalog,
    *,
    original_size: int,
    operation_id: str | None,
    proof: str | None,
    tags: Mapping[str, str],
    anew: bool = False,
) -> FileRecord:
    """Keep of an archive all that is needed to find it, to prove it again and to bring it back, members included.

    Members that are recorded stay, unless there are more or fewer, or they are to be recorded `anew`.

    What is recorded of the same archive already, and not known better now, stays. Another archive that was recorded
    at this key is gone, and its record says so from then on.
    """
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
        checksum=index.end.checksum or None,
        object_checksum=index.end.checksum or None,
        index_key=index_key,
        archive_id=own,
        digest=index.end.digest,
        kept=index.end.kept,
        original_size=original_size,
        member_count=index.end.members,
        operation_id=operation_id,
        proof=proof,
        proven_at=datetime.now(UTC) if proof else None,
        tags=dict(tags),
        status=FileStatus.COMPLETED,
    )
    if same:
        record.operation_id = known.operation_id or operation_id
        record.tags = {**known.tags, **tags}
        record.kept = known.kept if record.kept is None else record.kept
        if proof is None:
            record.proof, record.proven_at = known.proof, known.proven_at
    with catalog.transaction():
        saved = catalog.metadata.save_file_record(record)
        # Whose members a record without an id has, nobody has seen yet.
        if anew or not established or catalog.members.count(saved.id) != index.end.members:
            catalog.members.record(saved.id, index.members())
    return saved


class AmbiguousNameError(ConfigurationError):
    """A name fits several archives: which one is meant is the user's to say."""
