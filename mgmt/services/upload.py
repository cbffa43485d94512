"""Archive a file or folder, prove that the store holds it, and only then move the original to completed/."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from mgmt.archive import (
    Archived,
    Hashed,
    Index,
    IndexHeader,
    IndexWriter,
    Skipped,
    compressor,
    hash_tree,
    largest_object,
    survey,
    write_archive,
)
from mgmt.catalog import Catalog, FileStatus, Location, Role, Status, UploadRecord
from mgmt.errors import ConflictError, IntegrityError, MgmtError, SourceChangedError
from mgmt.paths import canonical
from mgmt.progress import Progress
from mgmt.services.archives import save_archive
from mgmt.services.completed import PROVEN, announce, announce_again, finish_upload
from mgmt.services.files import claim, describe, host, user
from mgmt.services.index_keys import index_key
from mgmt.services.indexes import OPERATION, any_index, look_up
from mgmt.services.local_copy import announce_copy, local_copy, on_disk, remove_copy
from mgmt.services.plan import Plan, UploadOptions, completed_dir, plan_upload
from mgmt.services.proof import prove
from mgmt.services.scratch import remove_abandoned_scratch, scratch_folder
from mgmt.services.unheard import abort_unheard
from mgmt.storage import ObjectStore, Sent, StoredObject

SENDING = "sending"


class _SupersededError(MgmtError):
    """An interrupted run wanted another key or store: its row ends here, and this run gets one of its own."""


def upload(
    path: str,
    options: UploadOptions,
    *,
    store: ObjectStore,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
    parent: str | None = None,
) -> UploadRecord:
    """Upload one target; returns its finished record: success, or partial when something was left out.

    A run that was interrupted before is gone on with, from wherever it was. On any error the original stays where it
    is, the record says why, and the error is raised.
    """
    target = canonical(path)
    record = UploadRecord(
        target_path=target,
        target_name=os.path.basename(target),
        store=store.url,
        s3_bucket=store.bucket,
        s3_storage_class=options.storage_class,
        command_args=dict(command_args),
        parent_id=parent,
    )
    try:
        with catalog.journal.record(record, claim=claim(target)) as record:
            if record.stage == PROVEN:
                remove_abandoned_scratch()
                if os.path.lexists(target):  # else it has been moved
                    announce_again(record, None if options.keep else completed_dir(target, options.completed_dir))
                    catalog.journal.checkpoint()
            else:
                _plan_and_archive(record, options, store, catalog, progress)
            if record.status != Status.CANCELLED:
                finish_upload(record, catalog)
        catalog.members.index_names()
    except _SupersededError:
        return upload(
            path, options, store=store, catalog=catalog, progress=progress, command_args=command_args, parent=parent
        )
    finally:
        progress.stop()
    return record


def _plan_and_archive(
    record: UploadRecord, options: UploadOptions, store: ObjectStore, catalog: Catalog, progress: Progress
) -> None:
    plan = plan_upload(str(record.target_path), options, store)
    remove_copy(record)  # a killed run may have left some of it
    try:
        _archive(record, plan, options, store, catalog, progress)
    except ConflictError as exc:
        if options.on_conflict != "skip":
            raise
        record.status, record.error_message = Status.CANCELLED, f"skipped: {exc.message}"


def _archive(
    record: UploadRecord,
    plan: Plan,
    options: UploadOptions,
    store: ObjectStore,
    catalog: Catalog,
    progress: Progress,
) -> None:
    """Get the target into the store under a key of its own, prove it, and record it (stage `proven`)."""
    key = _key_to_go_on_with(record, plan, store, catalog)
    while True:
        record.s3_object_key = key
        record.index_key = index_key(key, archive_id(record))
        try:
            if options.keep_archive is not None:
                announce_copy(record, options.keep_archive, key)
            catalog.journal.checkpoint()
            existing = look_up(store, key)
            if existing is None:
                _send(record, plan, options, store, catalog, progress)
            elif not _adopt(record, plan, options, existing, store, catalog, progress):
                continue
            return
        except ConflictError:
            if options.on_conflict != "rename":
                raise
            key = _next_key(plan.key, key)


def _key_to_go_on_with(record: UploadRecord, plan: Plan, store: ObjectStore, catalog: Catalog) -> str:
    """The key to use; what an earlier run of this very upload left in the store unproven is taken over."""
    if record.s3_object_key is not None:  # an interrupted run's row, taken up
        renamed = record.s3_object_key != plan.key and record.requested_key == plan.key
        if record.store != store.url or not (renamed or record.s3_object_key == plan.key):
            raise _SupersededError(f"given up for an upload to {store.location(plan.key)}")
        if record.upload_id is None:
            abort_unheard(store, record.s3_object_key, catalog)
        return record.s3_object_key
    record.requested_key = plan.key
    history = catalog.metadata.get_upload_history(str(record.target_path), record.host)
    earlier = next((each for each in history if each is not record), None)
    if (
        earlier is not None
        and earlier.status in (Status.FAILED, Status.CANCELLED)
        and earlier.stage != PROVEN
        and (earlier.store, earlier.requested_key) == (store.url, plan.key)
    ):
        # The archive's own id was fixed when its upload was created, so it stays the earlier operation's. Whatever
        # that one has left - parts, an index, an object whose answer was lost - is found by it, and used or replaced.
        record.archive_id = archive_id(earlier)
        record.upload_id, record.part_size = earlier.upload_id, earlier.part_size
        key = earlier.s3_object_key or plan.key
        if record.upload_id is None:
            abort_unheard(store, key, catalog)
        return key
    return plan.key


def _send(
    record: UploadRecord,
    plan: Plan,
    options: UploadOptions,
    store: ObjectStore,
    catalog: Catalog,
    progress: Progress,
) -> None:
    """Stream the archive into the store, its index before it is completed; then prove and record it."""
    assert record.s3_object_key is not None and record.index_key is not None  # noqa: S101, PT018 - set by _archive
    key = record.s3_object_key

    def started(upload_id: str, part_size: int) -> None:
        record.upload_id, record.part_size, record.stage = upload_id, part_size, SENDING
        catalog.journal.checkpoint()

    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        index = stack.enter_context(IndexWriter(os.path.join(folder, "index"), _index_header(record, options)))
        sending = store.start_upload(
            key,
            metadata={OPERATION: archive_id(record), "mgmt-format": "1"},
            planned_size=largest_object(plan.survey.tar_size),
            storage_class=options.storage_class,
            tags=options.tags,
            resume=record.upload_id,
            part_size=record.part_size or options.part_size,
            on_started=started,
        )
        stack.callback(sending.close)
        copy = stack.enter_context(local_copy(record))
        progress.start(f"upload {record.target_name}", plan.expected_tar_size)
        sinks: list[Callable[[bytes], object]] = [sending.write, copy.write] if copy else [sending.write]
        try:
            archived = write_archive(
                plan.tree,
                _sink(sinks, options.bandwidth),
                level=options.level,
                threads=options.threads,
                index=index,
                progress=progress,
                owners=options.owners,
                xattrs=options.xattrs,
            )
            progress.start(f"complete {record.target_name}")
            sent = sending.finish()
            index.finish(
                digest=archived.digest,
                size=sent.size,
                checksum=sent.checksum or "",
                tar_size=archived.tar_size,
                tar_crc32=archived.tar_crc32,
                part_size=sent.part_size,
                members=archived.members,
                blocks=archived.blocks,
                kept=archived.kept,
            )
            _look_again(plan, archived)
            _put_index(store, record.index_key, os.path.join(folder, "index"), record)
            catalog.journal.confirm()
            stored = sending.complete()
        except (SourceChangedError, ConflictError, IntegrityError):
            sending.abort()
            store.delete(record.index_key)
            record.upload_id = None
            catalog.journal.checkpoint()
            raise
        record.details = {**record.details, "parts_sent": sending.parts_sent, "parts_skipped": sending.parts_skipped}
        if copy:
            on_disk(copy)
        _prove_and_record(
            record, plan, options, archived, Index.open(os.path.join(folder, "index")), stored, store, catalog, progress
        )


def _adopt(
    record: UploadRecord,
    plan: Plan,
    options: UploadOptions,
    existing: StoredObject,
    store: ObjectStore,
    catalog: Catalog,
    progress: Progress,
) -> bool:
    """The key is taken: if by the same contents, prove and record them without sending anything.

    Returns False when what stood there was this operation's own, unproven and no longer the original: it is gone then.
    Raises ConflictError when it is something else.
    """
    assert record.index_key is not None  # noqa: S101
    with ExitStack() as stack:
        try:
            index = stack.enter_context(any_index(store, existing))
        except IntegrityError as exc:
            raise _taken(store, existing.key, "something that is not an archive of ours") from exc
        progress.start(f"compare {record.target_name}", plan.survey.size)
        hashed = hash_tree(plan.tree, progress)
        progress.stop()
        own = existing.metadata.get(OPERATION) == archive_id(record)
        if hashed.digest == index.end.digest:
            if record.upload_id is not None:
                store.abort(existing.key, record.upload_id)  # an interrupted run may have left it beside the object
            record.index_key = index_key(existing.key, index.header.operation_id) if index.header.operation_id else None
            record.details = {**record.details, "already_archived": not own}
            if copy := stack.enter_context(local_copy(record)):
                for chunk in store.stream(existing.key, etag=existing.etag):
                    copy.write(chunk)
                on_disk(copy)
            _prove_and_record(record, plan, options, hashed, index, existing, store, catalog, progress)
            return True
    if not own:
        raise _taken(store, existing.key, "other contents")
    store.delete(existing.key)
    store.delete(record.index_key)
    return False


def _prove_and_record(
    record: UploadRecord,
    plan: Plan,
    options: UploadOptions,
    seen: Archived | Hashed,
    index: Index,
    stored: StoredObject,
    store: ObjectStore,
    catalog: Catalog,
    progress: Progress,
) -> None:
    """Prove that the store holds what was `seen`; put it into the catalog in one transaction."""
    end = index.end
    parts = -(-end.size // end.part_size) if end.part_size else 1
    sent = Sent(size=end.size, checksum=end.checksum or None, parts=parts, part_size=end.part_size)
    try:
        record.proof = prove(store, stored.key, sent, seen.digest, options.proof, progress)
    except IntegrityError:
        if stored.metadata.get(OPERATION) == archive_id(record):
            # What arrived is not what was sent: it is worth nothing, and would stand in the way of the next try.
            store.delete(stored.key)
            if record.index_key:
                store.delete(record.index_key)
        raise
    record.digest, record.source_state, record.root_ctime_ns = seen.digest, seen.source_state, seen.root_ctime_ns
    record.original_size, record.compressed_size = seen.original_size, stored.size
    record.checksum_original = seen.file_sha256 or seen.digest
    record.checksum_compressed, record.checksum_s3_etag = end.checksum or None, stored.etag
    record.s3_storage_class = stored.storage_class or options.storage_class
    record.file_count, record.folder_count, record.link_count = seen.files, seen.folders, seen.links
    record.parts = parts
    record.result_path = store.location(stored.key)
    record.skipped_count = len(seen.skipped)
    if seen.skipped:
        record.details = {**record.details, "skipped": _listed(seen.skipped)}
    with catalog.transaction():
        source = describe(str(record.target_path), Location.LOCAL, FileStatus.COMPLETED)
        source.size, source.checksum, source.digest = seen.original_size, record.checksum_original, seen.digest
        source.original_size, source.operation_id = seen.original_size, record.operation_id
        catalog.journal.link(record, catalog.metadata.save_file_record(source), Role.SOURCE)
        archive = save_archive(
            stored,
            store,
            index,
            record.index_key,
            catalog,
            original_size=seen.original_size,
            operation_id=record.operation_id,
            proof=record.proof,
            tags=options.tags,
        )
        catalog.journal.link(record, archive, Role.ARCHIVE)
        if catalog.members.count(archive.id) != end.members:
            catalog.members.record(archive.id, index.members())
        if plan.completed_dir is not None and not seen.skipped:
            announce(record, plan.completed_dir)
        record.stage, record.upload_id = PROVEN, None
        catalog.journal.checkpoint()


def archive_id(record: UploadRecord) -> str:
    """The id that the archive carries: that of the operation which began it."""
    return record.archive_id or record.operation_id


def _look_again(plan: Plan, archived: Archived) -> None:
    now = survey(plan.tree)
    if (now.source_state, now.root_ctime_ns) != (archived.source_state, archived.root_ctime_ns):
        raise SourceChangedError(
            f"{plan.tree.root} changed while it was archived; the archive is discarded, the original is untouched",
            next_step=f"mgmt upload {plan.tree.root}",
        )


def _index_header(record: UploadRecord, options: UploadOptions) -> IndexHeader:
    assert record.s3_object_key is not None  # noqa: S101
    return IndexHeader(
        key=record.s3_object_key,
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


def _put_index(store: ObjectStore, key: str, path: str, record: UploadRecord) -> None:
    """Store the index. Its name holds this archive's own id: what an interrupted run left there is replaced."""
    for attempt in (1, 2):
        with open(path, "rb") as file:
            try:
                store.put(key, file, size=os.path.getsize(path), metadata={OPERATION: archive_id(record)})
                return
            except ConflictError:
                if attempt == 2:
                    raise
                store.delete(key)


def _next_key(wanted: str, taken: str) -> str:
    """`NAME-2.tar.gz`, `NAME-3.tar.gz`, ... : the one after `taken`."""
    stem = wanted.removesuffix(".tar.gz")
    number = int(taken.removesuffix(".tar.gz").removeprefix(f"{stem}-")) + 1 if taken != wanted else 2
    return f"{stem}-{number}.tar.gz"


def _taken(store: ObjectStore, key: str, by: str) -> ConflictError:
    return ConflictError(
        f"{store.location(key)} already holds {by}", next_step="mgmt upload --on-conflict rename ...   (or: --key KEY)"
    )


def _listed(skipped: Sequence[Skipped]) -> list[dict[str, str]]:
    """What was left out, for the record; at most the first thousand, as there may be very many."""
    return [{"path": each.path, "reason": each.reason} for each in skipped[:1000]]


def _sink(sinks: Sequence[Callable[[bytes], object]], bandwidth: int | None) -> Callable[[bytes], None]:
    """Write to each of `sinks`, on average no faster than `bandwidth` bytes a second."""
    began, count = time.monotonic(), 0

    def write(data: bytes) -> None:
        nonlocal count
        for each in sinks:
            each(data)
        if bandwidth is not None:
            count += len(data)
            time.sleep(max(0.0, count / bandwidth - (time.monotonic() - began)))

    return write
