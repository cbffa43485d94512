"""Moving an archive to another storage class: it is copied onto itself, and the copy is proven.

Until the copy is proven, the catalog has the archive as it was. After an interruption or a failure, the same command or
`mgmt recover` finds it in its new class, and proves it then.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil

from mgmt import prices
from mgmt.catalog import ClassRecord, FileRecord, Role, Status
from mgmt.choices import FROZEN_CLASSES, Proof, StorageClass
from mgmt.errors import (
    ConflictError,
    IntegrityError,
    NotReadyError,
    Problem,
    ProblemError,
    RefusedError,
    StoreError,
)
from mgmt.prices import MINIMUM_DAYS, Estimate, Objects, Prices
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import look_up
from mgmt.services.steps.locked import hides_lock
from mgmt.services.steps.proof import prove_again, still_there
from mgmt.services.steps.replacement import how_to_replace, without_another_copy
from mgmt.services.steps.resolve import Archive, note_stored
from mgmt.services.steps.unsettled import ASKED, note_asked, refuse_unsettled
from mgmt.services.steps.versions import how_to_copy_older
from mgmt.signals import held
from mgmt.storage import ObjectStore, StoredObject, has_etag, trusted
from mgmt.storage.copying import copied_parts
from mgmt.words import shell_word

PARTS = "upload_id"
"""The detail that names the unfinished copy in parts."""


def is_moved(record: FileRecord, stored: StoredObject, storage_class: str) -> bool:
    """Whether the archive is in the class already, proven and recorded: there is nothing to do."""
    return (
        stored.storage_class == record.storage_class == storage_class
        and has_etag(stored, record.etag)
        and record.proof is not None
    )


def refuse_unprovable(record: FileRecord, store: ObjectStore, storage_class: str) -> None:
    """Raise RefusedError for a class in which the copy could not be read, if reading alone could prove it."""
    if storage_class not in FROZEN_CLASSES:
        return
    algorithm = trusted(store)
    known = [each for each in (record.object_checksum or "").split() if each.startswith(f"{algorithm}:")]
    of_whole = any("-" not in each.partition(":")[2] for each in known)
    is_copied_at_once = copied_parts(record.size or 0) == 1
    where = f"{record.store}/{record.s3_object_key}"
    if record.proof is None:
        raise RefusedError(f"{where} was never proven", next_step=f"mgmt verify {shell_word(where)}")
    if algorithm is None or not of_whole or not (algorithm == "crc64nvme" or is_copied_at_once):
        raise RefusedError(
            f"{where} could not be proven in {storage_class}: it cannot be read there, and the store has no "
            "checksum of it that can be trusted",
            next_step="use a class that can be read, such as GLACIER_IR",
        )


def days_stored(record: FileRecord, stored: StoredObject) -> Decimal | None:
    """For how many days the archive has been in its class; None if that is not known."""
    is_recorded = record.storage_class == stored.storage_class and record.stored_at is not None
    since = record.stored_at if is_recorded else stored.last_modified
    return None if since is None else Decimal(str((datetime.now(UTC) - since) / timedelta(days=1)))


def objects_of(record: FileRecord, stored: StoredObject) -> Objects:
    """The archive as an object that has a price."""
    storage_class = stored.storage_class or StorageClass.STANDARD
    return Objects(storage_class=storage_class, size=stored.size, days_stored=days_stored(record, stored))


def cost_of(moved: Objects, storage_class: str, table: Prices) -> Estimate:
    """What the move costs, and a month from then on."""
    return prices.transition(table, moved, storage_class, copied_parts(moved.size))


def days_left(moved: Objects) -> int:
    """The days of the minimum duration of its class that are billed although it leaves now."""
    minimum = MINIMUM_DAYS.get(moved.storage_class, 0)
    stored = moved.days_stored if moved.days_stored is not None else Decimal(0)
    return max(0, ceil(minimum - stored))


def refuse_early(where: str, moved: Objects, storage_class: str, table: Prices) -> None:
    """Raise RefusedError, with the price, if the minimum duration of its class has not passed."""
    if not (left := days_left(moved)):
        return
    until = datetime.now(UTC) + timedelta(days=left)
    raise RefusedError(
        f"{where} would leave {moved.storage_class} {left} days before its minimum duration ends, and these days are"
        f" billed all the same: {prices.deletion(table, moved)}",
        next_step=f"mgmt class --yes {shell_word(where)} {storage_class}\n# or, without that, after {until:%Y-%m-%d}",
    )


def move(change: ClassRecord, archive: Archive, context: Context) -> None:
    """Copy the archive onto itself unless it is in its new class; prove it there, and record that.

    Raises what the store raises, and ProblemError when what is in the new class is not what was archived.
    """
    journal, store, record = context.catalog.journal, archive.store, archive.record
    assert record is not None  # noqa: S101 - the caller has refused it
    _abort_earlier(change, record, archive, context)
    stored, version = still_there(store, record), None
    if stored.storage_class != change.to_class:
        note_asked(change)
        journal.checkpoint()
        journal.confirm()
        version = _copy(change, record, archive, stored, context)
    try:
        prove_and_record(change, record, store, context, version)
    except ProblemError as error:
        is_missing = error.problem is Problem.MISSING
        advice = error.next_step or how_to_copy_older(store, record) or how_to_replace(archive, context)
        error.next_step = advice or without_another_copy(record, is_missing=is_missing)
        _note_unproven(record, error, context)
        raise


def _copy(
    change: ClassRecord, record: FileRecord, archive: Archive, stored: StoredObject, context: Context
) -> str | None:
    store, key = archive.store, archive.key

    def started(upload_id: str) -> None:
        change.details = {**change.details, PARTS: upload_id}
        context.catalog.journal.checkpoint()

    context.progress.start(f"move {key} to {change.to_class}")
    try:
        version = store.change_class(
            key, str(change.to_class), only=stored, checksum=record.object_checksum, on_started=started
        )
    except KeyboardInterrupt:
        with held():
            _abort_parts(change, store, key, context)
        raise
    except (StoreError, ConflictError, IntegrityError, RefusedError, NotReadyError):
        # The answer may be lost although it is done; what is there is proven in any case.
        there = look_up(store, key)
        is_ours = there is not None and there.metadata.get(OPERATION) == stored.metadata.get(OPERATION)
        if there is None or not is_ours or there.storage_class != change.to_class:
            _abort_parts(change, store, key, context)
            raise
        return None
    change.details = {name: value for name, value in change.details.items() if name not in (PARTS, ASKED)}
    return version


def prove_and_record(
    change: ClassRecord, record: FileRecord, store: ObjectStore, context: Context, version: str | None = None
) -> None:
    """Prove the archive in its new class, and record that and the end in one transaction.

    `version` is the id of the copy's version.
    """
    stored, proof = prove_again(store, record, Proof.AUTO, context.progress)
    with context.catalog.transaction():
        record.storage_class, record.etag, record.stored_at = stored.storage_class, stored.etag, stored.last_modified
        if not hides_lock(record, stored):
            note_stored(record, stored)
        record.proof, record.proven_at = proof, datetime.now(UTC)
        if version is not None:
            record.version_id = version
            change.details = {**change.details, "version_id": version, "older_version_stays": True}
        change.details = {**change.details, "proof": proof}
        context.catalog.metadata.save_file_record(record)
        context.catalog.journal.close(change)


def settle(change: ClassRecord, context: Context) -> str:
    """Finish an interrupted move if the archive is in its new class; else it is as it was. Return what was done.

    Raises UnsettledError within an hour, while the store may still be at a copy that it was asked for.
    """
    for archive, role in context.catalog.metadata.files_of(change):
        if role != Role.ARCHIVE or archive.s3_object_key is None:
            continue
        store = context.open_store(archive.store)
        _abort_parts(change, store, archive.s3_object_key, context)
        if still_there(store, archive).storage_class == change.to_class:
            try:
                prove_and_record(change, archive, store, context)
            except ProblemError as error:
                _note_unproven(archive, error, context)
                raise
            return f"finished: the archive is in {change.to_class}, and is proven"
        refuse_unsettled(change, archive, context)
    change.status = Status.CANCELLED
    change.error_message = "interrupted before the archive was moved"
    return "undone: the archive is in its class as before"


def _note_unproven(record: FileRecord, error: ProblemError, context: Context) -> None:
    """Let the catalog not call a copy proven that is damaged."""
    if error.problem is Problem.CORRUPT:
        with context.catalog.transaction():
            record.proof = record.proven_at = None
            context.catalog.metadata.save_file_record(record)


def _abort_parts(change: ClassRecord, store: ObjectStore, key: str, context: Context) -> None:
    """Remove the parts that an unfinished copy has made, which are billed; a note says if they stay."""
    upload_id = change.details.get(PARTS)
    if upload_id is None:
        return
    try:
        store.abort(key, str(upload_id))
    except StoreError as error:
        where = store.location(key)
        context.progress.note(f"note: parts of an unfinished copy of {where} stay until it is moved: {error.message}")
        return
    if not change.status.is_terminal:
        change.details = {name: value for name, value in change.details.items() if name != PARTS}


def _abort_earlier(change: ClassRecord, record: FileRecord, archive: Archive, context: Context) -> None:
    """Remove the parts that this move, or an earlier one of the archive that failed, has left."""
    _abort_parts(change, archive.store, archive.key, context)
    for each in context.catalog.metadata.operations_of(record):
        if isinstance(each, ClassRecord) and each is not change and each.status.is_terminal:
            _abort_parts(each, archive.store, archive.key, context)
