"""Being asked to stop, by Ctrl-C or another signal: at once where that is safe, else as soon as it is.

What must not be left half done runs in `held()`. What has gone so far that it can only be finished says
`finish_first()`: a stop then waits until `may_stop()`, where the next piece of work would begin; where none does, the
command is done before it could be stopped. Only the main thread is ever stopped, so elsewhere all of this does nothing.
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
    """Raise Interrupted for each of `STOPPING` from now on, but for those that are ignored: nohup means it."""
    _stop.held, _stop.finishing, _stop.raised, _stop.waiting = 0, False, False, None
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _received)


@contextmanager
def held() -> Iterator[None]:
    """Let a stop wait until the end of this block."""
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
    """From here on a stop waits for `may_stop`: what has begun is going to be finished."""
    if threading.current_thread() is threading.main_thread():
        _stop.finishing = True


def may_stop() -> None:
    """Nothing is under way: raise Interrupted if a stop has waited for this."""
    if threading.current_thread() is threading.main_thread():
        _stop.finishing = False
        _raise_what_waits()


def wait(number: int) -> None:
    """Let the stop by `number`, which was raised where nobody could catch it, take effect at the next occasion."""
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
