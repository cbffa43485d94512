"""Finding the archive that a name means: a key, an archive's name, an original's name or path, an operation id."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, Role, this_host
from mgmt.errors import ConfigurationError, NotFoundError
from mgmt.services.index_keys import SUFFIX
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


def find_archive(name: str, open_store: OpenStore, catalog: Catalog) -> Archive:
    """The one archive that `name` means; the store itself is asked when the catalog has none.

    Raises NotFoundError, or AmbiguousNameError listing them when it fits several.
    """
    found = [each for each in _known(name, catalog) if each.status == FileStatus.COMPLETED]
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
        except NotFoundError:
            continue
    raise NotFoundError(
        f"{name!r} is neither an archive in the catalog nor a key in {store.url}", next_step=f"mgmt search {name}"
    )


def _known(name: str, catalog: Catalog) -> list[FileRecord]:
    """The archives that `name` can mean; an operation's id means those that it made, used or found."""
    try:
        operation = catalog.metadata.get_operation(name)
    except NotFoundError:
        return catalog.metadata.find(name, this_host())
    return [archive for archive, _ in catalog.metadata.files_of(operation, Role.ARCHIVE)]


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
) -> FileRecord:
    """Keep of an archive all that is needed to find it, to prove it again and to bring it back.

    What is recorded of the same archive already, and not known better now, stays.
    """
    try:
        known = catalog.metadata.get_file_record(Place(Location.S3, store.url, stored.key))
        same = known.digest == index.end.digest and known.status != FileStatus.DELETED
    except NotFoundError:
        same = False
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
        digest=index.end.digest,
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
        if proof is None:
            record.proof, record.proven_at = known.proof, known.proven_at
    return catalog.metadata.save_file_record(record)


class AmbiguousNameError(ConfigurationError):
    """A name fits several archives: which one is meant is the user's to say."""
