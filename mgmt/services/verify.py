"""Prove again that what is stored is what was recorded."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime

from mgmt.catalog import Catalog, FileStatus, Location, Role, VerifyRecord
from mgmt.errors import IntegrityError, NotFoundError
from mgmt.progress import Progress
from mgmt.services.archives import Archive, OpenStore, find_archive
from mgmt.services.download import refuse_frozen
from mgmt.services.indexes import any_index
from mgmt.services.proof import prove
from mgmt.storage import Sent


def verify(
    name: str,
    *,
    read_back: bool,
    open_store: OpenStore,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
    parent: str | None = None,
) -> VerifyRecord:
    """Prove one archive again: by the store's checksum where that can be trusted, else (or if asked) by reading it.

    Raises IntegrityError when the store holds something else, or nothing.
    """
    record = VerifyRecord(target_path=name, target_name=name, command_args=dict(command_args), parent_id=parent)
    try:
        with catalog.journal.record(record) as record:
            archive = find_archive(name, open_store, catalog)
            record.target_path, record.target_name = archive.store.location(archive.key), archive.key
            record.store, record.s3_object_key, record.checked_objects = archive.store.url, archive.key, 1
            record.checked_size = (archive.record.size if archive.record is not None else None) or 0
            record.problems_found = 1  # until the opposite is proven
            catalog.journal.checkpoint()
            record.proof = prove_again(archive, "read-back" if read_back else "auto", progress)
            record.problems_found = 0
            if archive.record is not None:
                archive.record.proof, archive.record.proven_at = record.proof, datetime.now(UTC)
                catalog.journal.link(record, catalog.metadata.save_file_record(archive.record), Role.ARCHIVE)
    finally:
        progress.stop()
    return record


def prove_again(archive: Archive, method: str, progress: Progress) -> str:
    """Prove `archive` against what was recorded of it; returns how it was proven.

    Raises IntegrityError when the store holds something else, or nothing; NotReadyError when it must be read but is
    frozen.
    """
    where = archive.store.location(archive.key)
    try:
        stored = archive.store.head(archive.key)
    except NotFoundError as exc:
        raise IntegrityError(f"{where} is missing from the store", next_step=f"mgmt status {archive.key}") from exc
    known = archive.record
    if known is not None and known.digest is not None:
        if known.size not in (None, stored.size):
            raise IntegrityError(f"{where} has {stored.size} bytes, not {known.size} as recorded")
        size, checksum, digest = stored.size, known.object_checksum, known.digest
    else:
        with any_index(archive.store, stored) as index:
            size, checksum, digest = stored.size, index.end.checksum or None, index.end.digest
    if method == "read-back" or checksum is None:
        refuse_frozen(archive.store, stored)
    sent = Sent(size=size, checksum=checksum, parts=0, part_size=0)
    return prove(archive.store, archive.key, sent, digest, method, progress)


def sample_of(catalog: Catalog, share: float) -> list[str]:
    """The ids of a random `share` (0 to 1) of the archives in the catalog, at least one of them."""
    archives = catalog.metadata.list_files(None, Location.S3, FileStatus.COMPLETED, limit=None)
    ids = [f"{each.store}/{each.s3_object_key}" for each in archives]
    return ids if share >= 1 else random.sample(ids, min(len(ids), max(1, round(len(ids) * share))))
