"""A place in the kernel's queue for a lock, which is left when it takes too long."""

import fcntl
import os
import threading


def locked(descriptor: int, seconds: float) -> bool:
    """Wait for the exclusive flock of `descriptor`, at most `seconds`; whether it is held now.

    Like any flock it ends when the descriptor is closed. After False, or an exception, the descriptor is no longer the
    caller's: it is closed as soon as the kernel lets go of it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Waiter(descriptor).wait(seconds)
    except BaseException:
        os.close(descriptor)
        raise
    return True


def locked_at_once(descriptor: int) -> bool:
    """Take the exclusive flock of `descriptor` if nobody has it; whether it is held now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Waiter:
    """flock knows no time limit, and asking again and again starves some: so a thread waits in line for us."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._arrived = threading.Event()
        self._left = False
        self._error: OSError | None = None
        threading.Thread(target=self._queue, name="mgmt catalog lock", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether the lock came in time."""
        interrupted = True
        try:
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
