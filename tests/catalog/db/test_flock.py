import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt import signals
from mgmt.catalog.db.flock import lock_with_timeout, try_lock
from mgmt.errors import Interrupted


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in signals.STOPPING}
    signals.listen()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_an_interrupted_wait_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the signal arrives while the thread that waits is started."""
    path = tmp_path / "lock"
    start = threading.Thread.start
    waiting: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        waiting.append(thread)
        os.kill(os.getpid(), signal.SIGTERM)

    def opened() -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    holder = opened()
    fcntl.flock(holder, fcntl.LOCK_EX)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(Interrupted):
        lock_with_timeout(opened(), 60)
    os.close(holder)
    waiting[0].join(60)
    other = opened()
    assert try_lock(other)
    os.close(other)


@pytest.mark.parametrize("again", [False, True])
def test_a_signal_that_was_lost_is_as_often_as_it_was_sent(again: bool) -> None:
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    if again:
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    signals.wait(signal.SIGTERM, again=again)  # a destructor has lost the last one
    with pytest.raises(Interrupted) as caught:
        signals.may_stop()
    assert caught.value.again == again
