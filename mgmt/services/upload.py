"""Archive a file or folder, prove that the store holds it, and only then move the original to completed/."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mgmt.archive import (
    Archived,
    Hashed,
    Index,
    IndexHeader,
    IndexWriter,
    Skipped,
    compressor,
    covers,
    hash_tree,
    largest_object,
    look_again,
    write_archive,
)
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, Role, Status, UploadRecord
from mgmt.errors import (
    ConflictError,
    IntegrityError,
    MgmtError,
    NotFoundError,
    NotReadyError,
    RefusedError,
    SourceChangedError,
)
from mgmt.paths import held_parent
from mgmt.progress import Progress
from mgmt.services.steps.adoption import adopt_left, contradiction, is_recorded, prove_claimed, proven_record
from mgmt.services.steps.index_keys import OPERATION, index_key
from mgmt.services.steps.indexes import any_index, look_up
from mgmt.services.steps.local_copy import announce_copy, local_copy, on_disk, remove_copy
from mgmt.services.steps.local_files import claim, describe, host, user
from mgmt.services.steps.move_original import PROVEN, announce, announce_again, finish_upload, same_as_archived
from mgmt.services.steps.orphans import abort_unheard
from mgmt.services.steps.plan import Plan, UploadOptions, completed_dir, key_of, plan_upload
from mgmt.services.steps.proof import prove
from mgmt.services.steps.removal import remove_index, take_back
from mgmt.services.steps.resolve import archive_id, save_archive
from mgmt.services.steps.scratch import remove_abandoned_scratch, scratch_folder
from mgmt.storage import ObjectStore, Sent, StoredObject

SENDING = "sending"
"""The stage of an upload whose parts are on their way."""

SENT = "sent"
"""The stage of an upload that has sent all of it: what it is is recorded, and the object appears at any moment."""


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
    with held_parent(path) as (target, folder):
        asked = UploadRecord(
            target_path=target,
            target_name=os.path.basename(target),
            store=store.url,
            s3_bucket=store.bucket,
            s3_storage_class=options.storage_class,
            command_args=dict(command_args),
            parent_id=parent,
        )
        again = False
        try:
            with catalog.journal.record(asked, claim=claim(target)) as record:
                if record.stage == PROVEN:
                    remove_abandoned_scratch()
                    again = _settle_proven(record, options, store, folder)
                    catalog.journal.checkpoint()
                else:
                    plan = plan_upload(target, options, store, folder)
                    remove_copy(record)  # a killed run may have left some of it
                    under_way = _Upload(record, plan, options, store, catalog, progress, fresh=record is asked)
                    _archive_or_skip(under_way)
                if record.status != Status.CANCELLED:
                    finish_upload(record, catalog, folder)
            catalog.members.index_names()
        except _SupersededError:
            again = True
        finally:
            progress.stop()
    if not again:
        return record
    return upload(
        path, options, store=store, catalog=catalog, progress=progress, command_args=command_args, parent=parent
    )


def _settle_proven(record: UploadRecord, options: UploadOptions, store: ObjectStore, folder: int) -> bool:
    """Let a proven upload that was cut off end as it is asked to now; returns whether another one has to follow.

    That is so when its original has moved and another has its name, or when another store or key is asked for.
    """
    target, moved_to = str(record.target_path), record.completed_dir_path
    if not _is_there(target, folder):  # it has been moved
        return False
    if moved_to is not None and same_as_archived(moved_to, record, moved=True):
        return True
    wanted = (store.url, key_of(target, options))
    if (record.store, record.requested_key or record.s3_object_key) != wanted:
        announce_again(record, None)
        return True
    announce_again(record, None if options.keep else completed_dir(target, options.completed_dir, folder))
    return False


def _is_there(target: str, folder: int) -> bool:
    try:
        os.stat(os.path.basename(target), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _archive_or_skip(under_way: "_Upload") -> None:
    try:
        under_way.archive()
    except ConflictError as exc:
        if under_way.options.on_conflict != "skip":
            raise
        under_way.record.status, under_way.record.error_message = Status.CANCELLED, f"skipped: {exc.message}"


@dataclass(frozen=True, slots=True)
class _Upload:
    """One target on its way into the store; `fresh` unless an interrupted run is gone on with."""

    record: UploadRecord
    plan: Plan
    options: UploadOptions
    store: ObjectStore
    catalog: Catalog
    progress: Progress
    fresh: bool

    def archive(self) -> None:
        """Get the target into the store under a key of its own, prove it, and record it (stage `proven`)."""
        record, key = self.record, self._first_key()
        while True:
            record.s3_object_key = key
            record.index_key = index_key(key, archive_id(record))
            try:
                if self.options.keep_archive is not None:
                    announce_copy(record, self.options.keep_archive, key)
                with self.catalog.transaction():
                    source = self._note_source()
                existing = look_up(self.store, key)
                if existing is None:
                    source.status = FileStatus.UPLOADING
                    self._send(key, record.index_key)
                else:
                    self._adopt(existing)
                return
            except ConflictError:
                if self.options.on_conflict != "rename":
                    raise
                key = _next_key(self.plan.key, key)

    def _note_source(self) -> FileRecord:
        """Record the original as `pending`. This proves nothing: what is known of its content already stays known."""
        metadata, target = self.catalog.metadata, str(self.record.target_path)
        source = metadata.get_file_record(Place(Location.LOCAL, host(), target))
        if source is None or source.status is FileStatus.DELETED:
            source = describe(target, Location.LOCAL, FileStatus.PENDING, self.plan.tree.folder)
            source = metadata.save_file_record(source)
        source.status, source.error_message = FileStatus.PENDING, None
        self.catalog.journal.link(self.record, source, Role.SOURCE)
        return source

    def _first_key(self) -> str:
        """The key to use; what an earlier run of this very upload left in the store unproven is taken over."""
        record, plan, store, catalog = self.record, self.plan, self.store, self.catalog
        if record.s3_object_key is not None:  # an interrupted run's row, taken up
            renamed = record.s3_object_key != plan.key and record.requested_key == plan.key
            if record.store != store.url or not (renamed or record.s3_object_key == plan.key):
                raise _SupersededError(f"given up for an upload to {store.location(plan.key)}")
            if record.upload_id is None:
                abort_unheard(store, record.s3_object_key, catalog)
            return record.s3_object_key
        record.requested_key = plan.key
        earlier = self._earlier()
        if (
            earlier is not None
            and earlier.status in (Status.FAILED, Status.CANCELLED)
            and earlier.stage != PROVEN
            and (earlier.store, earlier.requested_key) == (store.url, plan.key)
        ):
            # The archive's own id was fixed when its upload was created, so it stays the earlier operation's. Whatever
            # that one has left - parts, an index, an object whose answer was lost - is found by it.
            record.archive_id = archive_id(earlier)
            record.upload_id, record.part_size = earlier.upload_id, earlier.part_size
            key = earlier.s3_object_key or plan.key
            if record.upload_id is None:
                abort_unheard(store, key, catalog)
            return key
        return plan.key

    def _earlier(self) -> UploadRecord | None:
        history = self.catalog.metadata.get_upload_history(str(self.record.target_path), self.record.host)
        return next((each for each in history if each is not self.record), None)

    def _send(self, key: str, index_key: str) -> None:
        """Stream the archive into the store, its index before it is completed; then prove and record it."""
        record, options, store, journal = self.record, self.options, self.store, self.catalog.journal

        def started(upload_id: str, part_size: int) -> None:
            record.upload_id, record.part_size, record.stage = upload_id, part_size, SENDING
            journal.checkpoint()

        with ExitStack() as stack:
            folder = stack.enter_context(scratch_folder())
            path = os.path.join(folder, "index")
            index = stack.enter_context(IndexWriter(path, _index_header(record, options)))
            sending = store.start_upload(
                key,
                metadata={OPERATION: archive_id(record), "mgmt-format": "1"},
                planned_size=largest_object(self.plan.survey.tar_size),
                storage_class=options.storage_class,
                tags=options.tags,
                resume=record.upload_id,
                part_size=record.part_size or options.part_size,
                on_started=started,
            )
            stack.callback(sending.close)
            copy = stack.enter_context(local_copy(record))
            sinks: list[Callable[[bytes], object]] = [sending.write, copy.write] if copy else [sending.write]
            try:
                archived = self._write(index, _sink(sinks, options.bandwidth))
                self.progress.start(f"complete {record.target_name}")
                sent = sending.finish()
                _finish_index(index, archived, sent)
                look_again(self.plan.tree, archived)
                if copy:
                    on_disk(copy)
                _put_index(store, key, index_key, path, archive_id(record))
                self._note(archived, sent)
                record.stage = SENT
                journal.checkpoint()
                stored = sending.complete()
            except (SourceChangedError, ConflictError, IntegrityError, RefusedError):
                sending.abort()
                remove_index(store, key, index_key, archive_id(record))
                record.upload_id, record.stage = None, None
                journal.checkpoint()
                raise
            sizes = {"parts_sent": sending.parts_sent, "parts_skipped": sending.parts_skipped}
            record.details = {**record.details, **sizes}
            self._prove_what_was_sent(stored, sent, archived, index_key)
            self._record(archived, Index.open(path, object_size=stored.size), stored)

    def _write(self, index: IndexWriter, sink: Callable[[bytes], None]) -> Archived:
        self.progress.start(f"upload {self.record.target_name}", self.plan.expected_tar_size)
        return write_archive(
            self.plan.tree,
            sink,
            level=self.options.level,
            threads=self.options.threads,
            index=index,
            progress=self.progress,
            owners=self.options.owners,
            xattrs=self.options.xattrs,
        )

    def _prove_what_was_sent(self, stored: StoredObject, sent: Sent, archived: Archived, index_key: str) -> None:
        try:
            self.record.proof = prove(self.store, stored.key, sent, archived.digest, self.options.proof, self.progress)
        except IntegrityError:
            if self.fresh and self.record.archive_id is None:
                # Nobody else can have made it: it is worth nothing, and would stand in the way of the next try.
                take_back(self.store, stored.key, index_key, archive_id(self.record))
                self.record.stage = None
            raise

    def _adopt(self, existing: StoredObject) -> None:
        """The key is taken: if by the same contents, prove and record them without sending anything.

        What stands there stays in any case. Raises ConflictError when it is something else.
        """
        record, store = self.record, self.store
        with ExitStack() as stack:
            try:
                index = stack.enter_context(any_index(store, existing))
            except IntegrityError as exc:
                raise _taken(store, existing.key, "something that is not an archive of ours") from exc
            self.progress.start(f"compare {record.target_name}", self.plan.survey.size)
            hashed = hash_tree(self.plan.tree, self.progress, owners=self.options.owners, xattrs=self.options.xattrs)
            look_again(self.plan.tree, hashed)
            self.progress.stop()
            known = proven_record(store, existing, self.catalog)
            if known is not None and contradiction(known, index):
                raise _taken(store, existing.key, "an archive whose index is not its own")
            if hashed.digest != (known.digest if known is not None else index.end.digest):
                self._leave_to_others(existing)
                raise _taken(store, existing.key, "other contents")
            self._prove_what_is_there(existing, index, hashed, known)
            if record.upload_id is not None:
                store.abort(existing.key, record.upload_id)  # an interrupted run may have left it beside the object
            made_by = index.header.operation_id
            record.index_key = index_key(existing.key, made_by) if made_by else None
            own = existing.metadata.get(OPERATION) == archive_id(record)
            record.details = {**record.details, "already_archived": not own}
            if copy := stack.enter_context(local_copy(record)):
                for chunk in store.stream(existing.key, etag=existing.etag):
                    copy.write(chunk)
                on_disk(copy)
            self._note(hashed, _as_sent(index))
            self._record(hashed, index, existing)

    def _prove_what_is_there(
        self, existing: StoredObject, index: Index, hashed: Hashed, known: FileRecord | None
    ) -> None:
        """Prove that `existing` holds what was `hashed`, with all that is asked to be kept of it."""
        record, store, method = self.record, self.store, self.options.proof
        own = record.digest == hashed.digest and existing.metadata.get(OPERATION) == archive_id(record)
        kept = known.kept if known is not None else record.kept if own else None
        if kept is None and hashed.kept:
            known, own = None, False  # only the archive itself can tell
        try:
            if known is not None:
                sent = Sent(known.size or existing.size, known.object_checksum, parts=0, part_size=0)
                record.proof = prove(store, existing.key, sent, hashed.digest, method, self.progress)
            elif own and record.checksum_compressed is not None:
                sent = Sent(record.compressed_size or existing.size, record.checksum_compressed, parts=0, part_size=0)
                record.proof = prove(store, existing.key, sent, hashed.digest, method, self.progress)
            else:
                record.proof, kept = prove_claimed(store, existing, index, self.progress)
        except IntegrityError as exc:
            raise _taken(store, existing.key, "an archive that is damaged, or not what its index says") from exc
        if not covers(kept or "", hashed.kept):
            raise _taken(
                store,
                existing.key,
                "the same contents, archived without the owners or extended attributes that are to be kept",
            )

    def _leave_to_others(self, existing: StoredObject) -> None:
        """If an earlier run of this upload has made `existing`, of other contents: that is an archive of its own.

        Somebody may rely on it. It is recorded if it can be proven, and this run makes another one.
        """
        record, own = self.record, archive_id(self.record)
        if existing.metadata.get(OPERATION) != own:
            return
        made_by = record if record.archive_id is None else self._earlier()
        try:
            if (
                made_by is not None
                and archive_id(made_by) == own
                and not is_recorded(self.store, existing, self.catalog)
            ):
                archive = adopt_left(made_by, existing, self.store, self.catalog, self.progress)
                self.catalog.journal.link(record, archive, Role.ARCHIVE)
        except (IntegrityError, NotReadyError, RefusedError, NotFoundError):
            pass  # what cannot be proven now stays all the same, and `mgmt verify --all` names it
        if record.archive_id is None:
            record.stage = PROVEN
            raise _SupersededError(f"its archive is complete, as {self.store.location(existing.key)}")
        record.archive_id = None

    def _note(self, seen: Hashed, sent: Sent) -> None:
        """Put down what was read and what the object of it is, and where the original is going to be."""
        record = self.record
        record.digest, record.kept = seen.digest, seen.kept
        record.source_state, record.root_ctime_ns = seen.source_state, seen.root_ctime_ns
        record.original_size, record.checksum_original = seen.original_size, seen.file_sha256 or seen.digest
        record.file_count, record.folder_count, record.link_count = seen.files, seen.folders, seen.links
        record.compressed_size, record.checksum_compressed, record.parts = sent.size, sent.checksum, sent.parts
        record.skipped_count = len(seen.skipped)
        if seen.skipped:
            record.details = {**record.details, "skipped": _listed(seen.skipped)}
        record.completed_dir_path = None
        if self.plan.completed_dir is not None and not seen.skipped:
            announce(record, self.plan.completed_dir)

    def _record(self, seen: Hashed, index: Index, stored: StoredObject) -> None:
        """Put what is proven into the catalog, in one transaction."""
        record, catalog = self.record, self.catalog
        record.checksum_s3_etag = stored.etag
        record.s3_storage_class = stored.storage_class or self.options.storage_class
        record.result_path = self.store.location(stored.key)
        with catalog.transaction():
            source = describe(str(record.target_path), Location.LOCAL, FileStatus.COMPLETED, self.plan.tree.folder)
            source.size, source.checksum, source.digest = seen.original_size, record.checksum_original, seen.digest
            source.kept, source.original_size, source.operation_id = (
                seen.kept,
                seen.original_size,
                record.operation_id,
            )
            catalog.journal.link(record, catalog.metadata.save_file_record(source), Role.SOURCE)
            archive = save_archive(
                stored,
                self.store,
                index,
                record.index_key,
                catalog,
                original_size=seen.original_size,
                operation_id=record.operation_id,
                proof=record.proof,
                tags=self.options.tags,
            )
            catalog.journal.link(record, archive, Role.ARCHIVE)
            record.stage, record.upload_id = PROVEN, None
            catalog.journal.checkpoint()


def _as_sent(index: Index) -> Sent:
    end = index.end
    parts = -(-end.size // end.part_size) if end.part_size else 1
    return Sent(size=end.size, checksum=end.checksum or None, parts=parts, part_size=end.part_size)


def _finish_index(index: IndexWriter, archived: Archived, sent: Sent) -> None:
    index.finish(
        digest=archived.digest,
        kept=archived.kept,
        size=sent.size,
        checksum=sent.checksum or "",
        tar_size=archived.tar_size,
        tar_crc32=archived.tar_crc32,
        part_size=sent.part_size,
        members=archived.members,
        blocks=archived.blocks,
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


def _put_index(store: ObjectStore, key: str, index_key: str, path: str, own_id: str) -> None:
    """Store the index. Its name holds this archive's own id: what an interrupted run left there is replaced."""
    for attempt in (1, 2):
        with open(path, "rb") as file:
            try:
                store.put(index_key, file, size=os.path.getsize(path), metadata={OPERATION: own_id})
                return
            except ConflictError:
                if attempt == 2 or not remove_index(store, key, index_key, own_id):
                    raise


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
