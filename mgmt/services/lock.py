"""Let the store keep an archive: until some time, or until a legal hold is lifted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mgmt.catalog import FileStatus, LockRecord, Role
from mgmt.choices import LockMode
from mgmt.errors import ConfigurationError, NotFoundError, RefusedError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import content_claim
from mgmt.services.steps.indexes import find_index
from mgmt.services.steps.locks import lasts, lockable, put_lock
from mgmt.services.steps.proof import still_there
from mgmt.services.steps.resolve import Archive, note_stored
from mgmt.services.steps.versions import find_kept, head_version, own_index_key, own_versions, versions_at
from mgmt.storage import Lock, ObjectStore, StoredObject
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """What to change. None leaves it as it is."""

    until: datetime | None = None
    mode: LockMode | None = None
    legal_hold: bool | None = None


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
        planned = _plan(archive, options)
        wanted, stored = planned.lock, planned.stored
        record.mode = wanted.mode if wanted.until is not None else None
        record.retain_until, record.legal_hold = wanted.until, wanted.legal_hold
        if archive.record is not None:
            journal.link(record, archive.record, Role.ARCHIVE)
        record.details = {"version_id": stored.version_id, "before": planned.before}
        journal.checkpoint()
        locked = _put(archive.store, stored, planned)
        if (index := _index(archive, stored)) is not None:
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
    planned = _plan(archive, options)
    return Preview(
        object=archive.url,
        before=planned.before,
        mode=planned.lock.mode if planned.lock.until is not None else None,
        retain_until=planned.lock.until,
        legal_hold=planned.lock.legal_hold,
        weakens=planned.shortens or (planned.lock.legal_hold is False and bool(planned.stored.legal_hold)),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    stored: StoredObject
    lock: Lock
    shortens: bool
    """A retention in GOVERNANCE ends earlier, which takes a permission of its own."""

    @property
    def before(self) -> dict[str, object]:
        until = self.stored.locked_until
        return {
            "lock_mode": self.stored.lock_mode,
            "locked_until": until and until.isoformat(),
            "legal_hold": self.stored.legal_hold,
        }


def _plan(archive: Archive, options: LockOptions) -> _Plan:
    if options == LockOptions():
        raise ConfigurationError(
            "nothing to change: no --until, --for, --mode or --legal-hold was given",
            next_step=f"mgmt lock --for 7y {archive.word}",
        )
    default = lockable(archive.store)
    stored = _stored(archive)
    now = datetime.now(UTC)
    active = stored.locked_until if stored.locked_until is not None and stored.locked_until > now else None
    until = options.until
    if options.mode is not None and until is None:
        if active is None:
            raise ConfigurationError(
                f"{archive.url} has no retention whose mode could change",
                next_step=f"mgmt lock --mode {options.mode.lower()} --for 7y {archive.word}",
            )
        until = active
    by_default = default.mode if default is not None and default.mode is not None else LockMode.GOVERNANCE
    mode = options.mode or (LockMode(stored.lock_mode) if active and stored.lock_mode else by_default)
    shortens = active is not None and until is not None and until < active
    is_fixed = active is not None and stored.lock_mode == LockMode.COMPLIANCE
    if is_fixed and until is not None and (shortens or mode is not LockMode.COMPLIANCE):
        raise RefusedError(
            f"{archive.url} is locked until {active:%Y-%m-%d %H:%M} UTC (COMPLIANCE), which can only become later",
            next_step=f"mgmt status {archive.word}",
        )
    return _Plan(stored, Lock(mode if until is not None else None, until, options.legal_hold), shortens)


def _stored(archive: Archive) -> StoredObject:
    """The version to lock: that which is there, or which is left of a deleted archive."""
    record, store = archive.record, archive.store
    if record is None:
        return store.head(archive.key)
    if record.status is not FileStatus.DELETED:
        return still_there(store, record)
    found = own_versions(store, archive.key, record)
    if not found:
        raise NotFoundError(
            f"{archive.url} is deleted, and no version of it is left",
            next_step=f"mgmt log --target {shell_word(archive.url)}",
        )
    return found[0]


def _index(archive: Archive, stored: StoredObject) -> StoredObject | None:
    """The index of the archive, or what is left of it."""
    store = archive.store
    key = own_index_key(archive.record) if archive.record is not None else find_index(store, stored)
    there = versions_at(store, key).versions if key is not None else ()
    return head_version(store, key, there[0]) if key is not None and there else None


def _put(store: ObjectStore, stored: StoredObject, planned: _Plan) -> StoredObject:
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
