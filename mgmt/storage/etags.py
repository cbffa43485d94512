"""ETags: how a store states them, how it wants them back, and when two of them name the same object."""

from mgmt.errors import ConflictError, StoreError
from mgmt.storage.store import StoredObject


def stored_etag(stated: str | None) -> str:
    """An ETag without its quotes, or in full where it is weak (`W/"..."`); empty where the store states none."""
    stated = stated or ""
    return stated if stated.startswith("W/") else stated.strip('"')


def given_etag(etag: str) -> str:
    """A `stored_etag` as the store gave it, which is how it wants it back."""
    return etag if etag.startswith("W/") else f'"{etag}"'


def same_etag(one: str, other: str | None) -> bool:
    """Whether both name the same object: a proxy may have made only one of them weak (RFC 9110, 8.8.3.2)."""
    return other is not None and _opaque(one) == _opaque(other)


def has_etag(stored: StoredObject, etag: str | None) -> bool:
    """Whether `stored` has the recorded `etag`; False where the store states none."""
    return bool(stored.etag) and same_etag(stored.etag, etag)


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def require_etag(where: str, etag: str, only: str) -> None:
    """Raise ConflictError unless the object at `where` has the expected ETag `only`.

    Raises StoreError when the store states none: then nothing shows which object it is.
    """
    if not same_etag(etag, only):
        raise ConflictError(f"{where} was replaced by another object", next_step="mgmt verify")
    if not etag:
        raise StoreError(f"the store states no ETag of {where}, so nothing shows that it is the recorded object")
