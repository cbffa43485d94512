"""Archive a file or folder, prove that the store holds it, and only then move the original to completed/."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from mgmt.archive import (
    Archived,
    Hashed,
    Index,
    IndexWriter,
    WriteOptions,
    covers,
    hash_tree,
    largest_object,
    look_again,
    write_archive,
)
from mgmt.catalog import FileRecord, FileStatus, Role, Status, UploadRecord
from mgmt.choices import OnConflict
from mgmt.errors import (
    ConflictError,
    IntegrityError,
    NotFoundError,
    NotReadyError,
    RefusedError,
    SourceChangedError,
)
from mgmt.paths import held_parent
from mgmt.services.steps.adoption import adopt_left, contradiction, is_recorded, prove_claimed, proven_record
from mgmt.services.steps.archived import (
    index_header,
    is_for,
    may_be_continued,
    note_archived,
    note_pending,
    record_proven,
)
from mgmt.services.steps.cleanup import unless_refused
from mgmt.services.steps.conflicts import next_key, note_new_tags, taken_by, taken_by_other_contents
from mgmt.services.steps.context import Context
from mgmt.services.steps.finished import earlier_upload, explained, is_finished, predates
from mgmt.services.steps.index_keys import OPERATION, index_key
from mgmt.services.steps.indexes import any_index, as_sent, finish_index, look_up
from mgmt.services.steps.interrupted import SupersededError, resume_proven
from mgmt.services.steps.leftovers import remove_replaced_index
from mgmt.services.steps.local_copy import (
    CopyTakenError,
    announce_copy,
    local_copy,
    on_disk,
    remove_copy,
    removed_on_failure,
)
from mgmt.services.steps.local_files import claim
from mgmt.services.steps.locks import lock_uploaded
from mgmt.services.steps.move_original import PROVEN, SENDING, SENT, finish_upload
from mgmt.services.steps.orphans import abort_orphans
from mgmt.services.steps.plan import Plan, UploadOptions, plan_upload
from mgmt.services.steps.proof import Expected, prove
from mgmt.services.steps.removal import IndexFile, put_index, remove_index, take_back
from mgmt.services.steps.resolve import ArchiveFacts, archive_id
from mgmt.services.steps.scratch import remove_abandoned_scratch, scratch_folder
from mgmt.services.steps.throttle import throttled
from mgmt.storage import Attributes, ObjectStore, StoredObject, Transfer

STALLED = 60.0
"""Seconds after which an upload looks whether its index is still there. No other catalog removes one within an hour."""


def upload(path: str, options: UploadOptions, context: Context) -> UploadRecord:
    """Upload one target; return its finished record: success, or partial when something was left out.

    An interrupted run of the same target is resumed from wherever it was. On any error the original stays where it is,
    the record says why, and the error is raised. A target that is gone because an earlier upload has archived and moved
    it is done: the record is that of this upload.
    """
    store = context.open_store(None)
    earlier = earlier_upload(path, options, store, context.catalog)
    if earlier is not None and predates(earlier, context.command_args):
        earlier = None
    if earlier is not None and is_finished(earlier, store, context.catalog):
        return earlier
    with held_parent(path) as (target, folder):
        asked = UploadRecord(
            target_path=target,
            target_name=os.path.basename(target),
            store=store.url,
            s3_bucket=store.bucket,
            s3_storage_class=options.storage_class,
            command_args=dict(context.command_args),
            parent_id=context.parent,
            retry_of=context.retry_of,
        )
        again = False
        try:
            with context.catalog.journal.record(asked, claim=claim(target)) as record:
                if record.stage == PROVEN:
                    remove_abandoned_scratch()
                    with removed_on_failure(record):
                        again = resume_proven(record, options, store, folder, context)
                    context.catalog.journal.checkpoint()
                else:
                    try:
                        plan = plan_upload(target, options, store, context.catalog, folder)
                    except NotFoundError as exc:
                        raise explained(exc, earlier, store) from exc
                    remove_copy(record)  # a killed run may have left some of it
                    _Upload(record, plan, options, store, context, fresh=record.s3_object_key is None).run()
                if record.status != Status.CANCELLED:
                    finish_upload(record, context.catalog, folder)
            context.catalog.members.index_names()
        except SupersededError:
            again = True
        finally:
            context.progress.stop()
    return upload(path, options, context) if again else record


@dataclass(frozen=True, slots=True)
class _Upload:
    """One target on its way into the store; `fresh` unless an interrupted run is resumed."""

    record: UploadRecord
    plan: Plan
    options: UploadOptions
    store: ObjectStore
    context: Context
    fresh: bool

    def run(self) -> None:
        """Archive the target. With `--on-conflict skip`, cancel the operation when the key is taken."""
        try:
            self._archive()
        except CopyTakenError:
            raise
        except ConflictError as exc:
            if self.options.on_conflict != OnConflict.SKIP:
                raise
            self.record.status, self.record.error_message = Status.CANCELLED, f"skipped: {exc.message}"

    def _archive(self) -> None:
        """Store the target under a key of its own, prove it and record it (stage `proven`)."""
        record, key = self.record, self._first_key()
        while True:
            if record.s3_object_key not in (None, key):
                self._remove_earlier_index()
            record.s3_object_key = key
            record.index_key = index_key(key, archive_id(record))
            try:
                with self.context.catalog.transaction():
                    source = note_pending(record, self.plan, self.context.catalog)
                existing = look_up(self.store, key)
                if existing is None:
                    self._announce_copy(key)
                    source.status = FileStatus.UPLOADING
                    self._send(key, record.index_key)
                else:
                    self._adopt(existing)
                return
            except CopyTakenError:
                raise
            except ConflictError:
                if self.options.on_conflict != OnConflict.RENAME:
                    raise
                key = next_key(self.plan.key, key)

    def _announce_copy(self, key: str) -> None:
        """Record where the copy will be, if one is to be kept: as late as this, when `key` is known to be the one."""
        if self.options.keep_archive is not None:
            announce_copy(self.record, self.options.keep_archive, key)
            self._checkpoint()

    def _first_key(self) -> str:
        """The key to use. What an earlier run of this upload left in the store unproven is taken over."""
        record, plan, store = self.record, self.plan, self.store
        if record.s3_object_key is not None:  # the record of an interrupted run
            if not is_for(record, store, plan.key):
                raise SupersededError(f"superseded by an upload to {store.location(plan.key)}")
            key = record.s3_object_key
        else:
            # An interrupted run that got no further than its plan may have had another store in mind.
            record.store, record.s3_bucket, record.requested_key = store.url, store.bucket, plan.key
            record.s3_storage_class, record.command_args = plan.storage_class, dict(self.context.command_args)
            if plan.class_by is not None:
                record.details = {**record.details, "storage_class_by": plan.class_by}
            earlier = self._earlier()
            if earlier is None or not may_be_continued(earlier, store, plan.key, self.context.catalog):
                return plan.key
            # The id of an archive is fixed when its upload begins, so it stays that of the earlier operation. Its
            # parts, its index, and an object whose completion was never confirmed are found by it.
            record.archive_id = archive_id(earlier)
            record.upload_id, record.part_size = earlier.upload_id, earlier.part_size
            key = earlier.s3_object_key or plan.key
        if record.upload_id is None:
            abort_orphans(store, key, self.context.catalog)
        return key

    def _remove_earlier_index(self) -> None:
        """Remove the index that an earlier run of this upload may have stored, as another key or archive follows."""
        record, key = self.record, str(self.record.s3_object_key)
        if self.fresh and record.archive_id is None:
            return
        if record.index_key == index_key(key, archive_id(record)):
            with unless_refused("the index of an earlier run", self.context.progress):
                remove_index(self.store, key, record.index_key, archive_id(record))

    def _earlier(self) -> UploadRecord | None:
        history = self.context.catalog.metadata.get_upload_history(str(self.record.target_path), self.record.host)
        return next((each for each in history if each is not self.record and each.status != Status.PENDING), None)

    def _send(self, key: str, index_key: str) -> None:
        """Stream the archive into the store, with its index before it is completed; then prove and record it."""
        record, options, store = self.record, self.options, self.store

        def started(upload_id: str, part_size: int) -> None:
            record.upload_id, record.part_size, record.stage = upload_id, part_size, SENDING
            self._checkpoint()

        with ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder())
            file = IndexFile(key, index_key, os.path.join(scratch, "index"), archive_id(record), self.plan.lock)
            index = stack.enter_context(IndexWriter(file.path, index_header(record, options)))
            metadata = {OPERATION: archive_id(record), "mgmt-format": "1"}
            transfer = Transfer(
                largest_object(self.plan.survey.tar_size),
                part_size=options.part_size,
                resume=record.upload_id,
                resume_part_size=record.part_size,
                folder=scratch,
                on_started=started,
            )
            attributes = Attributes(metadata, self.plan.storage_class, options.tags, self.plan.lock)
            sending = store.start_upload(key, attributes, transfer)
            stack.callback(sending.close)
            copy = stack.enter_context(local_copy(record))
            sinks: list[Callable[[bytes], object]] = [sending.write, copy.write] if copy else [sending.write]
            try:
                archived = self._write(index, throttled(sinks, options.bandwidth))
                self.context.progress.start(f"complete {record.target_name}")
                sent = sending.finish()
                finish_index(index, archived, sent)
                look_again(self.plan.tree, archived)
                if copy:
                    on_disk(copy)
                put_index(store, file)
                stored_at = time.time()
                note_archived(record, self.plan, archived, sent)
                record.stage = SENT
                self._checkpoint()
                stored = sending.complete()
            except (SourceChangedError, ConflictError, IntegrityError, RefusedError):
                with unless_refused("what was sent", self.context.progress):
                    sending.abort()
                    record.upload_id = None
                with unless_refused("its index", self.context.progress):
                    remove_index(store, key, index_key, archive_id(record))
                record.stage = None
                self._checkpoint()
                raise
            sizes = {"parts_sent": sending.parts_sent, "parts_skipped": sending.parts_skipped}
            record.details = {**record.details, **sizes}
            self._prove_sent(stored, Expected(sent, archived.digest), index_key)
            if time.time() - stored_at > STALLED and look_up(store, index_key) is None:
                # Another catalog may have taken it for that of a killed upload.
                put_index(store, file)
            self._record(archived, Index.open(file.path, object_size=stored.size), stored)

    def _write(self, index: IndexWriter, sink: Callable[[bytes], None]) -> Archived:
        self.context.progress.start(f"upload {self.record.target_name}", self.plan.expected_tar_size)
        options = self.options
        how = WriteOptions(options.level, options.threads, owners=options.owners, xattrs=options.xattrs)
        return write_archive(self.plan.tree, sink, index, self.context.progress, how)

    def _prove_sent(self, stored: StoredObject, expected: Expected, index_key: str) -> None:
        try:
            self.record.proof = prove(self.store, stored.key, expected, self.options.proof, self.context.progress)
        except IntegrityError:
            if self.fresh and self.record.archive_id is None:
                # Only this process can have made it. It is worthless, and would be in the way of the next attempt.
                with unless_refused("the corrupt archive", self.context.progress):
                    take_back(self.store, stored.key, index_key, archive_id(self.record))
                    self.record.stage = None
            raise

    def _adopt(self, existing: StoredObject) -> None:
        """The key is taken: if by the same contents, prove and record them without sending anything.

        What is stored there stays in any case. Raises ConflictError when it is something else.
        """
        record, store, plan = self.record, self.store, self.plan
        with ExitStack() as stack:
            try:
                index = stack.enter_context(any_index(store, existing))
            except IntegrityError as exc:
                raise taken_by(store, existing.key, "something that is not an archive of mgmt") from exc
            hashed = self._hash()
            known = proven_record(store, existing, self.context.catalog)
            if known is not None and contradiction(known, index):
                raise taken_by(store, existing.key, "an archive whose index is not its own")
            if hashed.digest != (known.digest if known is not None else index.end.digest):
                self._leave_to_others(existing)
                raise taken_by_other_contents(record, store, existing.key, known, self.context.catalog)
            proof = self._prove_existing(existing, index, hashed, known)
            self._announce_copy(existing.key)
            record.proof = proof
            if record.upload_id is not None:
                with unless_refused("an interrupted upload", self.context.progress):
                    store.abort(existing.key, record.upload_id)
            own = existing.metadata.get(OPERATION) == archive_id(record)
            if not own:
                self._remove_earlier_index()
            made_by = index.header.operation_id
            record.index_key = index_key(existing.key, made_by) if made_by else None
            record.details = {**record.details, "already_archived": not own}
            if copy := stack.enter_context(local_copy(record)):
                for chunk in store.stream(existing.key, etag=existing.etag):
                    copy.write(chunk)
                on_disk(copy)
            note_archived(record, plan, hashed, as_sent(index))
            note_new_tags(existing.key, known, self.options.tags, self.context.progress)
            self._record(hashed, index, existing)

    def _prove_existing(self, existing: StoredObject, index: Index, hashed: Hashed, known: FileRecord | None) -> str:
        """Prove that `existing` holds what was `hashed`, with everything that is to be kept of it; return how."""
        record, store, progress = self.record, self.store, self.context.progress
        expected, kept = None, None
        if known is not None:
            expected, kept = (known.size, known.object_checksum), known.kept
        elif record.digest == hashed.digest and existing.metadata.get(OPERATION) == archive_id(record):
            kept = record.kept
            if record.checksum_compressed is not None:
                expected = (record.compressed_size, record.checksum_compressed)
        try:
            if expected is None or (kept is None and hashed.kept):  # only the archive itself can tell
                proof, kept = prove_claimed(store, existing, index, progress)
            else:
                size, checksum = expected
                recorded = Expected.recorded(size or existing.size, checksum, hashed.digest)
                proof = prove(store, existing.key, recorded, self.options.proof, progress)
        except IntegrityError as exc:
            raise taken_by(store, existing.key, "an archive that is damaged, or not what its index says") from exc
        if not covers(kept or "", hashed.kept):
            what = "the same contents, archived without the owners or extended attributes that are to be kept"
            raise taken_by(store, existing.key, what)
        return proof

    def _hash(self) -> Hashed:
        tree, options, progress = self.plan.tree, self.options, self.context.progress
        progress.start(f"compare {self.record.target_name}", self.plan.survey.size)
        hashed = hash_tree(tree, progress, owners=options.owners, xattrs=options.xattrs)
        look_again(tree, hashed)
        progress.stop()
        return hashed

    def _leave_to_others(self, existing: StoredObject) -> None:
        """If an earlier run of this upload made `existing`, of other contents, then it is an archive of its own.

        Somebody may rely on it. It is recorded if it can be proven, and this run makes another one.
        """
        record, own, catalog = self.record, archive_id(self.record), self.context.catalog
        if existing.metadata.get(OPERATION) != own:
            return
        if record.upload_id is not None:  # a kill between completing it and forgetting its parts
            with unless_refused("what was sent", self.context.progress):
                self.store.abort(existing.key, record.upload_id)
                record.upload_id = None
        made_by = record if record.archive_id is None else self._earlier()
        try:
            if made_by is not None and archive_id(made_by) == own and not is_recorded(self.store, existing, catalog):
                archive = adopt_left(made_by, existing, self.store, self.context)
                catalog.journal.link(record, archive, Role.ARCHIVE)
        except (IntegrityError, NotReadyError, RefusedError, NotFoundError):
            pass  # what cannot be proven now stays all the same, and `mgmt verify --all` reports it
        if record.archive_id is None:
            record.stage = PROVEN
            raise SupersededError(f"its archive is complete, as {self.store.location(existing.key)}")
        record.archive_id = None

    def _record(self, seen: Hashed, index: Index, stored: StoredObject) -> None:
        record = self.record
        archive = ArchiveFacts(
            store=self.store,
            stored=lock_uploaded(self.store, stored, record.index_key, self.plan.lock),
            index=index,
            index_key=record.index_key,
            original_size=seen.original_size,
            operation_id=record.operation_id,
            proof=record.proof,
            tags=self.options.tags,
        )
        record_proven(record, self.plan, self.options, archive, self.context.catalog)
        for replaced in self.context.catalog.metadata.replaced_archives(self.store.url, stored.key):
            with unless_refused("the index of an archive that is gone", self.context.progress):
                remove_replaced_index(replaced, self.store, self.context.catalog)

    def _checkpoint(self) -> None:
        self.context.catalog.journal.checkpoint()
