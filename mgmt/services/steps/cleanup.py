"""Clean-ups that are allowed to fail: they never hide why an operation failed, nor prevent one."""

from collections.abc import Iterator
from contextlib import contextmanager

from mgmt.errors import StoreError
from mgmt.progress import Progress


@contextmanager
def unless_refused(what: str, progress: Progress) -> Iterator[None]:
    """Try to remove `what`. If the store refuses that, or cannot be reached, a note says that it is left there."""
    try:
        yield
    except StoreError as exc:
        progress.note(f"note: {what} is left in the store, until `mgmt recover` removes it: {exc.message}")
