"""Exclusive file locks (flock) with a timeout, granted in order of arrival."""

import fcntl
import os
import threading

from mgmt.signals import held


def lock_with_timeout(descriptor: int, seconds: float) -> bool:
    """Wait up to `seconds` for an exclusive flock on `descriptor`; return whether it was acquired.

    Closing the descriptor releases the lock. After False or an exception the descriptor no longer belongs to the
    caller: it is closed as soon as the kernel call returns.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Waiter(descriptor).wait(seconds)
    except BaseException:
        os.close(descriptor)
        raise
    return True


def try_lock(descriptor: int) -> bool:
    """Acquire an exclusive flock on `descriptor` if it is free; return whether it was acquired."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Waiter:
    """Waits in a thread, because flock has no timeout and polling is unfair to those who came first."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._arrived = threading.Event()
        self._left = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._queue, name="mgmt catalog lock", daemon=True)

    def wait(self, seconds: float) -> bool:
        """Return whether the lock was acquired in time."""
        interrupted = True
        try:
            with held():  # interrupted while it starts, the thread would never learn that nobody waits
                self._thread.start()
            self._arrived.wait(seconds)
            interrupted = False
        finally:
            with self._mutex:
                arrived = self._arrived.is_set()
                self._left = not arrived
                if interrupted and arrived and self._error is None:
                    os.close(self._descriptor)
        if self._error is not None:
            raise self._error
        return arrived

    def _queue(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        with self._mutex:
            self._arrived.set()
            if self._left or self._error is not None:
                os.close(self._descriptor)
