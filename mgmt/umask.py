"""The umask of this process: what mgmt creates is private, except what it creates for others as well."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PRIVATE = 0o077


class _Given:
    umask: int | None = None
    """That of the user; None in a program that did not call `keep_private`: its umask is left alone."""


_turn = threading.RLock()
"""The umask belongs to the whole process: without turns, one thread would restore what another has set."""


def keep_private() -> None:
    """Let only the user access what this process creates from now on, except in a block of `shared`."""
    _Given.umask = os.umask(_PRIVATE)
    os.umask(_Given.umask | _PRIVATE)


@contextmanager
def shared() -> Iterator[None]:
    """What is created in this block gets the mode that its folder and the user's umask give it.

    Keep the block short: it applies to all threads.
    """
    if _Given.umask is None:
        yield
        return
    with _turn:
        private = os.umask(_Given.umask)
        try:
            yield
        finally:
            os.umask(private)
