"""Object lock: what a new lock is, and how it is set."""

from dataclasses import replace
from datetime import timedelta

from mgmt.choices import LockMode
from mgmt.errors import RefusedError, StoreError, StoreUnavailableError
from mgmt.services.steps.locked import is_locked
from mgmt.services.steps.versions import head_version
from mgmt.storage import Lock, ObjectStore, StoredObject

ROUNDED = timedelta(seconds=1)
"""By how much a store may round the end of a retention."""


def lockable(store: ObjectStore) -> Lock | None:
    """How the bucket locks a new object by itself, if it does. Raises RefusedError if `store` has no object lock."""
    if store.locks is None:
        raise RefusedError(
            f"{store.url} is a directory, and has no object lock",
            next_step="use a bucket with object lock: mgmt config set store s3://BUCKET",
        )
    return store.locks.default()


def resolved(lock: Lock, store: ObjectStore) -> Lock:
    """`lock` with the mode that the bucket has by default, or else GOVERNANCE. Raises as `lockable` does."""
    default = lockable(store)
    if lock.until is None or lock.mode is not None:
        return lock
    return replace(lock, mode=default.mode if default is not None else LockMode.GOVERNANCE)


def lasts(stored: StoredObject, lock: Lock) -> bool:
    """Whether `stored` is kept at least as `lock` says."""
    held = lock.legal_hold is None or bool(stored.legal_hold) is lock.legal_hold
    if lock.until is None:
        return held
    long_enough = stored.locked_until is not None and stored.locked_until >= lock.until - ROUNDED
    return held and long_enough and stored.lock_mode in (lock.mode or stored.lock_mode, LockMode.COMPLIANCE)


def put_lock(store: ObjectStore, stored: StoredObject, lock: Lock, *, bypass: bool = False) -> StoredObject:
    """Lock this version, and return it as the store describes it then. Raises RefusedError if the store does not."""
    where = store.location(stored.key)
    if store.locks is None:
        raise RefusedError(f"{where} cannot be locked in a directory")
    try:
        store.locks.put(stored.key, stored.version_id, lock, bypass=bypass)
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        needed = "s3:PutObjectRetention and s3:PutObjectLegalHold" + (", s3:BypassGovernanceRetention" * bypass)
        raise RefusedError(
            f"the store does not change the lock of {where}: {exc.message}", next_step=f"allow {needed}"
        ) from exc
    now = stored if stored.version_id is None else head_version(store, stored.key, stored.version_id)
    now = store.head(stored.key) if now is None or stored.version_id is None else now
    if not bypass and not lasts(now, lock):
        raise RefusedError(f"the store has accepted the lock of {where}, and does not keep it")
    return now


def strengthen(store: ObjectStore, stored: StoredObject, lock: Lock) -> StoredObject:
    """Lock `stored` at least as `lock` says, unless it is; return it as it is then. No lock is ever weakened."""
    if lasts(stored, lock):
        return stored
    if lock.until is not None and stored.locked_until is not None and is_locked(stored):
        mode = LockMode.COMPLIANCE if stored.lock_mode == LockMode.COMPLIANCE else lock.mode
        lock = replace(lock, mode=mode, until=max(lock.until, stored.locked_until))
    return put_lock(store, stored, lock)


def lock_uploaded(store: ObjectStore, stored: StoredObject, index_key: str | None, lock: Lock | None) -> StoredObject:
    """Lock an archive that was uploaded, and its index, unless they are: an interrupted upload may have begun them so.

    Returns the archive as it is then.
    """
    if lock is None:
        return stored
    if index_key is not None:
        strengthen(store, store.head(index_key), lock)
    return strengthen(store, stored, lock)
