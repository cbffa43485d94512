"""What to do when a key is taken: the next free key, or an error that says by what."""

from mgmt.errors import ConflictError
from mgmt.storage import ObjectStore


def next_key(wanted: str, taken: str) -> str:
    """`NAME-2.tar.gz`, `NAME-3.tar.gz`, ...: the one after `taken`."""
    stem = wanted.removesuffix(".tar.gz")
    number = int(taken.removesuffix(".tar.gz").removeprefix(f"{stem}-")) + 1 if taken != wanted else 2
    return f"{stem}-{number}.tar.gz"


def taken_by(store: ObjectStore, key: str, what: str) -> ConflictError:
    """The error for a `key` that already holds `what`."""
    return ConflictError(
        f"{store.location(key)} already holds {what}",
        next_step="mgmt upload --on-conflict rename ...   (or: --key KEY)",
    )
