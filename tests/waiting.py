"""Waits for an event in another thread or process: the only place where tests sleep."""

import time
from collections.abc import Callable

SECONDS = 600.0
"""Seconds after which an event is taken never to come; a busy machine only makes it late."""

_SHORTEST, _LONGEST = 0.0005, 0.02


def until(happened: Callable[[], object], what: object, *, seconds: float = SECONDS) -> None:
    """Return as soon as `happened()` is true. Raises TimeoutError, which names `what`, after `seconds`."""
    deadline, pause = time.monotonic() + seconds, _SHORTEST
    while not happened():
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(min(left, pause))
        pause = min(pause * 1.5, _LONGEST)
