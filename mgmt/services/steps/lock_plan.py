"""What a lock is to be: which version it is for, and what its retention becomes."""

from dataclasses import dataclass
from datetime import UTC, datetime

from mgmt.catalog import FileStatus
from mgmt.choices import LockMode
from mgmt.errors import ConfigurationError, NotFoundError, RefusedError
from mgmt.services.steps.indexes import find_index
from mgmt.services.steps.locks import lockable
from mgmt.services.steps.proof import still_there
from mgmt.services.steps.resolve import Archive
from mgmt.services.steps.versions import head_version, own_index_key, own_versions, versions_at
from mgmt.storage import Lock, StoredObject
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """What to change. None leaves it as it is."""

    until: datetime | None = None
    mode: LockMode | None = None
    legal_hold: bool | None = None


@dataclass(frozen=True, slots=True)
class LockPlan:
    """A version to lock, and how."""

    stored: StoredObject
    lock: Lock
    shortens: bool
    """A retention in GOVERNANCE ends earlier, which takes a permission of its own."""

    @property
    def before(self) -> dict[str, object]:
        """The lock until now."""
        until = self.stored.locked_until
        return {
            "lock_mode": self.stored.lock_mode,
            "locked_until": until and until.isoformat(),
            "legal_hold": self.stored.legal_hold,
        }


def plan_lock(archive: Archive, options: LockOptions) -> LockPlan:
    """What `options` mean for `archive`. Raises ConfigurationError, or RefusedError for what COMPLIANCE forbids."""
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
    return LockPlan(stored, Lock(mode if until is not None else None, until, options.legal_hold), shortens)


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


def index_of(archive: Archive, stored: StoredObject) -> StoredObject | None:
    """The index of the archive, or what is left of it."""
    store = archive.store
    key = own_index_key(archive.record) if archive.record is not None else find_index(store, stored)
    there = versions_at(store, key).versions if key is not None else ()
    return head_version(store, key, there[0]) if key is not None and there else None
