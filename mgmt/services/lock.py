"""Let the store keep an archive: until some time, or until a legal hold is lifted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mgmt.catalog import LockRecord, Role
from mgmt.errors import RefusedError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import content_claim
from mgmt.services.steps.lock_plan import LockOptions, LockPlan, index_of, plan_lock
from mgmt.services.steps.locks import lasts, put_lock
from mgmt.services.steps.resolve import note_stored
from mgmt.services.steps.versions import find_kept
from mgmt.storage import Lock, ObjectStore, StoredObject

__all__ = ["LockOptions", "Preview", "lock", "preview"]


def lock(name: str, options: LockOptions, context: Context) -> LockRecord:
    """Lock the archive that `name` means, and its index; also one that is deleted, but kept as an older version.

    Raises RefusedError if the store has no object lock, if COMPLIANCE would end earlier, or if the store refuses.
    """
    archive, journal = find_kept(name, context), context.catalog.journal
    record = LockRecord(
        target_path=archive.url,
        target_name=archive.key,
        store=archive.store.url,
        s3_object_key=archive.key,
        command_args=dict(context.command_args),
        parent_id=context.parent,
    )
    digest = archive.record.digest if archive.record is not None else None
    with journal.record(record, claim=archive.url if digest is None else content_claim(digest)) as record:
        planned = plan_lock(archive, options)
        wanted, stored = planned.lock, planned.stored
        record.mode = wanted.mode if wanted.until is not None else None
        record.retain_until, record.legal_hold = wanted.until, wanted.legal_hold
        if archive.record is not None:
            journal.link(record, archive.record, Role.ARCHIVE)
        record.details = {"version_id": stored.version_id, "before": planned.before}
        journal.checkpoint()
        locked = _put(archive.store, stored, planned)
        if (index := index_of(archive, stored)) is not None:
            _put(archive.store, index, planned)
        if archive.record is not None:
            note_stored(archive.record, locked)
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a lock would change. `weakens` says that a retention ends earlier, or that a hold is lifted."""

    type: str = "preview"
    before: Mapping[str, Any]
    object: str
    mode: str | None
    retain_until: datetime | None
    legal_hold: bool | None
    weakens: bool


def preview(name: str, options: LockOptions, context: Context) -> Preview:
    """What `lock` would do with `name`, refusals included; changes nothing."""
    archive = find_kept(name, context)
    planned = plan_lock(archive, options)
    return Preview(
        object=archive.url,
        before=planned.before,
        mode=planned.lock.mode if planned.lock.until is not None else None,
        retain_until=planned.lock.until,
        legal_hold=planned.lock.legal_hold,
        weakens=planned.shortens or (planned.lock.legal_hold is False and bool(planned.stored.legal_hold)),
    )


def _put(store: ObjectStore, stored: StoredObject, planned: LockPlan) -> StoredObject:
    """Lock one version, unless it is locked so already."""
    if not planned.shortens and lasts(stored, planned.lock) and _same_mode(stored, planned.lock):
        return stored
    changes_mode = planned.lock.until is not None and not _same_mode(stored, planned.lock)
    if changes_mode and not planned.shortens:
        try:
            return put_lock(store, stored, planned.lock)
        except RefusedError:  # some stores take the permission to bypass for any change of the mode
            return put_lock(store, stored, planned.lock, bypass=True)
    return put_lock(store, stored, planned.lock, bypass=planned.shortens)


def _same_mode(stored: StoredObject, lock: Lock) -> bool:
    return lock.until is None or stored.lock_mode in (None, lock.mode)
