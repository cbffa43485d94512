"""Restore an original from its archive: proven, and all or nothing."""

import os
import posixpath
from dataclasses import dataclass

from mgmt.archive import make_folders, remove_partial, select
from mgmt.catalog import Catalog, DownloadRecord, FileStatus, Location, Role, Status
from mgmt.choices import OnConflict, StorageClass
from mgmt.errors import ConflictError, IntegrityError, NotReadyError
from mgmt.paths import folder_to_make
from mgmt.prices import Objects
from mgmt.services.steps.altered import note_faulty
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import claim, describe, token
from mgmt.services.steps.overlaps import known_stores, refuse_in_store
from mgmt.services.steps.plan_cost import PlanCost, of_download
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.restoring import DownloadOptions, Restoring, free_name, index_if_any, root_name
from mgmt.services.steps.thaw import refuse_frozen, refuse_to_look, wait
from mgmt.storage import StoredObject

_ELSEWHERE = "mgmt download --to DIR ...\n# a folder outside of the store"


def download(name: str, options: DownloadOptions, context: Context) -> DownloadRecord:
    """Restore the archive that `name` means, or one member of it; return the finished record.

    Nothing appears under its own name before all of it is proven; on any error nothing is left behind. If the catalog
    cannot be written here, as a standby server cannot, it works unrecorded, with a note.
    """
    catalog, folder = context.catalog, folder_to_make(options.to)
    record = DownloadRecord(
        target_path=name,
        target_name=name,
        member=options.member,
        local_path=folder,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.retry_of,
    )
    if options.wait:
        wait(find_archive(name, context), options.thaw, context)
    elif context.requested is not None:  # it must not begin, nor be an attempt, before the archive can be read
        asked = find_archive(name, context)
        refuse_frozen(asked, asked.store.head(asked.key), options.thaw, context)
    wanted = os.path.join(folder, name.strip("/"), options.member or "")
    try:
        with catalog.journal.record(record, claim=claim(wanted), unrecorded=context.note_read_only) as record:
            found = find_archive(name, context)
            stored = found.store.head(found.key)
            record.store, record.s3_bucket, record.s3_object_key = found.store.url, found.store.bucket, found.key
            record.s3_storage_class, record.checksum_s3_etag = stored.storage_class, stored.etag
            record.local_path = folder
            if record.is_recorded:
                if found.record is not None:
                    catalog.journal.link(record, found.record, Role.ARCHIVE)
                catalog.journal.checkpoint()
            _refuse_frozen(record, found, stored, options, context)
            refuse_in_store(folder, "--to", [found.store.url, *known_stores(catalog)], next_step=_ELSEWHERE)
            make_folders(folder)
            remove_partial(folder, token(record.operation_id))  # of an interrupted run of this very operation
            try:
                _restore(Restoring(record, found, stored, folder, options, context.progress), catalog)
            except ConflictError as exc:
                if options.on_conflict != OnConflict.SKIP:
                    raise
                record.status, record.error_message = Status.CANCELLED, f"skipped: {exc.message}"
            if record.is_recorded and record.status is not Status.CANCELLED:
                result = describe(record.local_path, Location.LOCAL, FileStatus.COMPLETED)
                result.operation_id, result.digest = record.operation_id, record.digest
                result.checksum = record.checksum_local
                catalog.journal.link(record, catalog.metadata.save_file_record(result), Role.RESULT)
            # Only now, because an interrupted download is resumed by the name that was asked for.
            record.target_path, record.target_name = found.store.location(found.key), found.key
    finally:
        context.progress.stop()
    return record


def _restore(restoring: Restoring, catalog: Catalog) -> None:
    """Restore what was asked for; what is wrong with the archive is recorded."""
    try:
        if restoring.options.archive:
            restoring.archive()
        else:
            restoring.members()
    except IntegrityError as exc:
        if restoring.found.record is not None:
            note_faulty(restoring.record, {restoring.found.record: exc.message}, catalog)
        raise


def _refuse_frozen(
    record: DownloadRecord, found: Archive, stored: StoredObject, options: DownloadOptions, context: Context
) -> None:
    """Ask for the thaw of a frozen archive, and raise NotReadyError: the download is cancelled then.

    It has not failed, and nothing repeats it by itself: a thaw costs money.
    """
    try:
        refuse_frozen(found, stored, options.thaw, context)
    except NotReadyError as exc:
        if record.is_recorded:
            context.catalog.journal.close(record, Status.CANCELLED, exc.message)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a download would do. `size` is the bytes that would be read."""

    type: str = "preview"
    status: Status = Status.SUCCESS
    """The status that the download would have."""
    object: str
    size: int
    requests: int
    to: str
    error_message: str | None = None
    """Why it would be skipped."""
    cost: PlanCost | None = None


def preview(name: str, options: DownloadOptions, context: Context) -> Preview:
    """What `download` would do with `name`, refusals included; changes nothing."""
    found = find_archive(name, context)
    stored = found.store.head(found.key)
    refuse_to_look(found, stored, options.thaw)
    folder = folder_to_make(options.to)
    refuse_in_store(folder, "--to", [found.store.url, *known_stores(context.catalog)], next_step=_ELSEWHERE)
    size, restored = stored.size, posixpath.basename(found.key) if options.archive else root_name(found.key)
    with index_if_any(found, stored) as index:
        if index is not None and index.lengths and not options.archive:
            restored = next(index.members()).path
            if options.member is not None:
                selection = select(index, options.member)
                first, last = (offset // index.header.block_size for offset in (selection.start, selection.end - 1))
                restored, size = selection.name, index.block_offset(last + 1) - index.block_offset(first)
    where = found.store.location(found.key)
    try:
        name = free_name(folder, restored, options.on_conflict)
    except ConflictError as exc:
        if options.on_conflict != OnConflict.SKIP:
            raise
        skipped, to = f"skipped: {exc.message}", os.path.join(folder, restored)
        return Preview(status=Status.CANCELLED, object=where, size=0, requests=4, to=to, error_message=skipped)
    requests = 4 + size // (6 << 20)
    read = Objects(storage_class=stored.storage_class or StorageClass.STANDARD, size=size)
    cost = of_download(where, read, requests=requests, table=options.thaw.table) if options.thaw.table else None
    return Preview(object=where, size=size, requests=requests, to=os.path.join(folder, name), cost=cost)
