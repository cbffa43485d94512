"""A limit on bandwidth that all uploads of a command share."""

import threading

import pytest

from mgmt.errors import Interrupted
from mgmt.services.steps import throttle
from mgmt.services.steps.throttle import Bandwidth, throttled
from mgmt.signals import Stop, finish_first, stopping_at


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(throttle.time, "monotonic", lambda: self.now)  # type: ignore[attr-defined]
        monkeypatch.setattr(throttle, "pause", self.pause)

    def pause(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


def test_writing_takes_as_long_as_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    written: list[bytes] = []
    write = throttled([written.append], Bandwidth(100))
    for _ in range(5):
        write(bytes(50))
    assert clock.now == 1002.5
    assert sum(map(len, written)) == 250


def test_what_takes_longer_by_itself_is_not_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    write = throttled([lambda _: clock.pause(2)], Bandwidth(100))
    for _ in range(5):
        write(bytes(50))
    assert clock.now == 1010


def test_several_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, limit = Clock(monkeypatch), Bandwidth(100)
    one, other = (throttled([lambda _: None], limit) for _ in range(2))
    for _ in range(3):
        one(bytes(50))
        other(bytes(50))
    assert clock.now == 1003


def test_no_limit_is_none() -> None:
    written: list[bytes] = []
    throttled([written.append, written.append], None)(b"x")
    assert written == [b"x", b"x"]


@pytest.mark.parametrize("must_finish", [False, True])
def test_a_worker_that_is_asked_to_stop_does_not_wait_for_the_limit(must_finish: bool) -> None:
    stop, ended = Stop(), []

    def work() -> None:
        with stopping_at(stop):
            if must_finish:
                finish_first()
            try:
                throttled([lambda _: stop.ask(15)], Bandwidth(1000))(bytes(1 if must_finish else 100_000_000))
                ended.append(0)
            except Interrupted as interruption:
                ended.append(interruption.signum)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert ended == [0 if must_finish else 15]
