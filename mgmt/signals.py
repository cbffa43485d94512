"""Interruption by Ctrl-C and other signals: at once where that is safe, otherwise as soon as it is.

Code that must not be interrupted halfway runs in `held()`. Work that can only be finished, not undone, calls
`finish_first()`: a signal then waits until `may_stop()`, which is called before the next piece of work. If there is
none, the command finishes as if there had been no signal. Only the main thread is interrupted. In other threads these
functions do nothing, except in a worker that `stopping_at` a Stop: it is interrupted where it calls `stop_here`.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mgmt.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop:
    held = 0
    finishing = False
    raised: int | None = None
    waiting: int | None = None


_stop = _Stop()


class Stop:
    """A request to worker threads to stop. Asking twice is harmless."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._number = 0

    def ask(self, number: int) -> None:
        """Ask the workers to stop, because of the signal `number`."""
        self._number = number
        self._asked.set()

    def check(self, seconds: float = 0) -> None:
        """Wait for `seconds`. Raises Interrupted as soon as it was asked."""
        if self._asked.wait(seconds) if seconds else self._asked.is_set():
            raise Interrupted(self._number)


class _Worker(threading.local):
    stop: Stop | None = None
    finishing = False


_worker = _Worker()


def listen() -> None:
    """Raise Interrupted for each signal in `STOPPING` from now on, except ignored ones, as under nohup."""
    _stop.held, _stop.finishing, _stop.raised, _stop.waiting = 0, False, None, None
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _received)


@contextmanager
def held() -> Iterator[None]:
    """Delay a signal until the end of this block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stop.held += 1
    try:
        yield
    finally:
        _stop.held -= 1
        _raise_what_waits()


def finish_first() -> None:
    """Delay signals until `may_stop`: the current work must be finished."""
    if threading.current_thread() is threading.main_thread():
        _stop.finishing = True
    else:
        _worker.finishing = True


@contextmanager
def stopping_at(stop: Stop) -> Iterator[None]:
    """Let `stop` interrupt this block, the work of one thread: at each `stop_here`, until `finish_first`."""
    _worker.stop, _worker.finishing = stop, False
    try:
        yield
    finally:
        _worker.stop = None


def stop_here() -> None:
    """In a worker: raise Interrupted if it was asked to stop, unless its work must be finished."""
    if _worker.stop is not None and not _worker.finishing:
        _worker.stop.check()


def pause(seconds: float) -> None:
    """Sleep. A worker that is asked to stop meanwhile raises Interrupted."""
    if seconds > 0 and _worker.stop is not None and not _worker.finishing:
        _worker.stop.check(seconds)
    elif seconds > 0:
        time.sleep(seconds)


def may_stop() -> None:
    """Raise Interrupted if a signal was delayed: no work is in progress."""
    if threading.current_thread() is threading.main_thread():
        _stop.finishing = False
        _raise_what_waits()


def raised() -> int | None:
    """The last signal that has interrupted this process; None if there was none."""
    return _stop.raised


def wait(number: int, *, again: bool) -> None:
    """Delay the signal `number` until the next `may_stop` or end of `held`: its exception was lost.

    `again` is that of the exception: a first signal is still the first one when it is raised then.
    """
    _stop.waiting = number
    if not again:
        _stop.raised = None


def _received(number: int, _: FrameType | None) -> None:
    if _stop.held or _stop.finishing:
        _stop.waiting = number
    else:
        _raise(number)


def _raise_what_waits() -> None:
    if _stop.waiting is not None and not _stop.held and not _stop.finishing:
        number, _stop.waiting = _stop.waiting, None
        _raise(number)


def _raise(number: int) -> None:
    again, _stop.raised = _stop.raised is not None, number
    raise Interrupted(number, again=again)
