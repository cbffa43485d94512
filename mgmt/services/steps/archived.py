"""The facts of an original: pending, noted in the upload before its object appears, recorded when it is proven."""

from collections.abc import Sequence

from mgmt.archive import Hashed, IndexHeader, Skipped, compressor
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, Role, Status, UploadRecord
from mgmt.services.steps.local_files import describe, host, user
from mgmt.services.steps.move_original import PROVEN, announce
from mgmt.services.steps.plan import Plan, UploadOptions
from mgmt.services.steps.resolve import ArchiveFacts, archive_id, save_archive
from mgmt.storage import ObjectStore, Sent, StoredObject


def note_pending(record: UploadRecord, plan: Plan, catalog: Catalog) -> FileRecord:
    """Record the original as `pending`. This proves nothing: what is known of its content already stays known."""
    target = str(record.target_path)
    source = catalog.metadata.get_file_record(Place(Location.LOCAL, host(), target))
    now = describe(target, Location.LOCAL, FileStatus.PENDING, plan.tree.folder)
    if source is None or source.status is FileStatus.DELETED:
        source = catalog.metadata.save_file_record(now)
    source.size, source.is_directory, source.mime_type = now.size, now.is_directory, now.mime_type
    source.created_at, source.modified_at, source.accessed_at = now.created_at, now.modified_at, now.accessed_at
    source.status = FileStatus.PENDING
    if source.error_message is not None:
        source.error_message = None
    catalog.journal.link(record, source, Role.SOURCE)
    return source


def is_for(record: UploadRecord, store: ObjectStore, key: str) -> bool:
    """Whether the interrupted `record` was sending to this store and `key`, or to one chosen because that was taken."""
    return record.store == store.url and key in (record.s3_object_key, record.requested_key)


def may_be_continued(earlier: UploadRecord, store: ObjectStore, key: str, catalog: Catalog) -> bool:
    """Whether an upload to `key` takes over what the last one, which failed, has left in the store unproven."""
    return (
        earlier.status in (Status.FAILED, Status.CANCELLED)
        and earlier.stage != PROVEN
        and (earlier.store, earlier.requested_key) == (store.url, key)
        # `mgmt recover` has recorded its archive, which may be deleted by now: its id is used up.
        and not catalog.metadata.is_archive_id(archive_id(earlier))
    )


def index_header(record: UploadRecord, options: UploadOptions) -> IndexHeader:
    """The first line of the index: which upload makes the archive, where, from what and how."""
    return IndexHeader(
        key=str(record.s3_object_key),
        operation_id=archive_id(record),
        source=str(record.target_path),
        host=host(),
        user=user(),
        created_at=record.started_at.isoformat(),
        level=options.level,
        compressor=compressor(options.level),
        owners=options.owners,
        xattrs=options.xattrs,
    )


def note_archived(record: UploadRecord, plan: Plan, seen: Hashed, sent: Sent) -> None:
    """Note in the upload what was `seen`, the object it was `sent` as, and where the original will be."""
    record.digest, record.kept = seen.digest, seen.kept
    record.source_state, record.root_ctime_ns = seen.source_state, seen.root_ctime_ns
    record.original_size, record.checksum_original = seen.original_size, seen.file_sha256 or seen.digest
    record.file_count, record.folder_count, record.link_count = seen.files, seen.folders, seen.links
    record.compressed_size, record.checksum_compressed, record.parts = sent.size, sent.checksum, sent.parts
    record.skipped_count = len(seen.skipped)
    if seen.skipped:
        record.details = {**record.details, "skipped": _listed(seen.skipped)}
    record.completed_dir_path = None
    if plan.completed_dir is not None and not seen.skipped:
        announce(record, plan.completed_dir)


def record_proven(
    record: UploadRecord, plan: Plan, options: UploadOptions, archive: ArchiveFacts, catalog: Catalog
) -> None:
    """Record the original and its proven archive in one transaction (stage `proven`)."""
    record.checksum_s3_etag = archive.stored.etag
    record.s3_storage_class = archive.stored.storage_class or plan.storage_class
    record.result_path = archive.store.location(archive.stored.key)
    record.details = {**record.details, **_lock(archive.stored)}
    with catalog.transaction():
        record_original(record, catalog, plan.tree.folder)
        catalog.journal.link(record, save_archive(archive, catalog), Role.ARCHIVE)
        record.stage, record.upload_id = PROVEN, None
        catalog.journal.checkpoint()


def _lock(stored: StoredObject) -> dict[str, object]:
    """What keeps the archive from being removed, asked for or by default of the bucket; empty if nothing does."""
    found: dict[str, object] = {}
    if stored.locked_until is not None:
        found = {"lock_mode": stored.lock_mode, "locked_until": stored.locked_until.isoformat()}
    return found | ({"legal_hold": True} if stored.legal_hold else {})


def record_original(record: UploadRecord, catalog: Catalog, folder: int | None = None) -> None:
    """Record the original, which is what was archived; `folder` is the open folder that holds it, if given."""
    original = describe(str(record.target_path), Location.LOCAL, FileStatus.COMPLETED, folder)
    original.size = original.original_size = record.original_size
    original.checksum, original.digest, original.kept = record.checksum_original, record.digest, record.kept
    original.operation_id = record.operation_id
    catalog.journal.link(record, catalog.metadata.save_file_record(original), Role.SOURCE)


def _listed(skipped: Sequence[Skipped]) -> list[dict[str, str]]:
    """The first thousand of what was left out: there may be very many."""
    return [{"path": each.path, "reason": each.reason} for each in skipped[:1000]]
