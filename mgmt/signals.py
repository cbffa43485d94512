"""Interruption by Ctrl-C and other signals: at once where that is safe, otherwise as soon as it is.

Code that must not be interrupted halfway runs in `held()`. Work that can only be finished, not undone, calls
`finish_first()`: a signal then waits until `may_stop()`, which is called before the next piece of work. If there is
none, the command finishes as if there had been no signal. Only the main thread is interrupted: in other threads, these
functions do nothing.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mgmt.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop:
    held = 0
    finishing = False
    raised = False
    waiting: int | None = None


_stop = _Stop()


def listen() -> None:
    """Raise Interrupted for each signal in `STOPPING` from now on, except ignored ones, as under nohup."""
    _stop.held, _stop.finishing, _stop.raised, _stop.waiting = 0, False, False, None
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


def may_stop() -> None:
    """Raise Interrupted if a signal was delayed: no work is in progress."""
    if threading.current_thread() is threading.main_thread():
        _stop.finishing = False
        _raise_what_waits()


def wait(number: int) -> None:
    """Delay the signal `number` until the next `may_stop` or end of `held`: its exception was lost."""
    _stop.waiting = number


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
    again, _stop.raised = _stop.raised, True
    raise Interrupted(number, again=again)
