"""What the store prevents from being removed: until when, and who may lift that."""

from datetime import UTC, datetime

from mgmt.catalog import FileRecord
from mgmt.choices import LockMode
from mgmt.errors import RefusedError, StoreError, StoreUnavailableError
from mgmt.storage import ObjectStore, StoredObject
from mgmt.words import shell_word


def is_locked(stored: StoredObject) -> bool:
    """Whether the store prevents the removal of this version."""
    return bool(stored.legal_hold) or (stored.locked_until is not None and stored.locked_until > datetime.now(UTC))


def refuse_locked(store: ObjectStore, stored: StoredObject) -> None:
    """Raise RefusedError if the store prevents the removal of this version: until when, and who may lift that."""
    if not is_locked(stored):
        return
    where = store.location(stored.key)
    word = shell_word(where)
    if stored.legal_hold:
        raise RefusedError(f"{where} has a legal hold", next_step=f"mgmt lock --no-legal-hold {word}")
    until = f"{stored.locked_until:%Y-%m-%d %H:%M} UTC"
    if stored.lock_mode == LockMode.COMPLIANCE:
        raise RefusedError(f"{where} is locked until {until} (COMPLIANCE), and nobody can remove it before")
    raise RefusedError(
        f"{where} is locked until {until} (GOVERNANCE); s3:BypassGovernanceRetention is needed to remove it before",
        next_step=f"mgmt lock --until +1min {word}\n# with that permission",
    )


def hides_lock(record: FileRecord, stored: StoredObject) -> bool:
    """Whether the archive is recorded as locked, and the store shows no lock of it: it needs permissions for that."""
    is_retained = record.locked_until is not None and record.locked_until > datetime.now(UTC)
    return (is_retained and stored.locked_until is None) or (bool(record.legal_hold) and stored.legal_hold is None)


def refuse_hidden_lock(record: FileRecord, store: ObjectStore, stored: StoredObject) -> None:
    """Raise RefusedError if the copy would lose a lock, which the store does not show."""
    if hides_lock(record, stored):
        raise RefusedError(
            f"{store.location(stored.key)} is recorded as locked, and the store does not show how: its copy would have"
            " no lock",
            next_step="allow s3:GetObjectRetention and s3:GetObjectLegalHold",
        )


def explained(error: StoreError, store: ObjectStore, stored: StoredObject) -> StoreError | RefusedError:
    """The error for a removal that the store has refused: the lock, if that is why."""
    if isinstance(error, StoreUnavailableError):
        return error
    try:
        refuse_locked(store, stored)
    except RefusedError as exc:
        return exc
    return error
