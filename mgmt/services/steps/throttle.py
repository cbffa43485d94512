"""A limit on bandwidth (`--bwlimit`)."""

import time
from collections.abc import Callable, Sequence


def throttled(sinks: Sequence[Callable[[bytes], object]], bandwidth: int | None) -> Callable[[bytes], None]:
    """A function that writes to each of `sinks`, on average no faster than `bandwidth` bytes per second."""
    began, count = time.monotonic(), 0

    def write(data: bytes) -> None:
        nonlocal count
        for each in sinks:
            each(data)
        if bandwidth is not None:
            count += len(data)
            time.sleep(max(0.0, count / bandwidth - (time.monotonic() - began)))

    return write
