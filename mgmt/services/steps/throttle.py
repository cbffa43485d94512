"""A limit on bandwidth (`--bwlimit`)."""

import threading
import time
from collections.abc import Callable, Sequence

from mgmt.signals import pause


class Bandwidth:
    """A limit in bytes per second that all uploads of a command share, in whatever threads they are."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free_at = 0.0
        self._turn = threading.Lock()

    def reserve(self, count: int) -> float:
        """Reserve the time of `count` bytes after what is reserved already; return when it ends (`time.monotonic`)."""
        with self._turn:
            self._free_at = max(self._free_at, time.monotonic()) + count / self._limit
            return self._free_at


def throttled(sinks: Sequence[Callable[[bytes], object]], bandwidth: Bandwidth | None) -> Callable[[bytes], None]:
    """A function that writes to each of `sinks`, on average no faster than `bandwidth` permits."""

    def write(data: bytes) -> None:
        until = bandwidth.reserve(len(data)) if bandwidth is not None else 0.0
        for each in sinks:
            each(data)
        if bandwidth is not None:
            pause(until - time.monotonic())

    return write
