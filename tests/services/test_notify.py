"""Delivery: what is due goes out once, in order, in time."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mgmt.catalog import SILENCE, Catalog, OutboxRecord, Status, UploadRecord, open_catalog, this_host
from mgmt.catalog.operations import outbox
from mgmt.catalog.records.base import now
from mgmt.errors import NotFoundError
from mgmt.services.notify import listed, try_rules
from mgmt.services.steps import delivery
from mgmt.services.steps.delivery import Deliveries, Starts, deliver
from mgmt.services.steps.notices import messages
from mgmt.services.steps.rules import Rule, parse_rules
from tests.forked import Forked
from tests.receiver import Receiver, receiver

HANGS = 60
"""Seconds that an endpoint keeps silent: what does not wait for it takes less than half of them on any machine."""


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = open_catalog(f"sqlite:///{tmp_path}/catalog.db")
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def rules(*tables: dict[str, Any]) -> tuple[Rule, ...]:
    return parse_rules([{"name": f"r{number}", **each} for number, each in enumerate(tables)], "config.toml")


def to(server: Receiver, **facts: Any) -> dict[str, Any]:
    return {"slack": server.url, "allow_private": True, "on": ["success", "failed"], **facts}


def upload(catalog: Catalog, path: str, *, fails: bool = False) -> None:
    with catalog.journal.record(UploadRecord(target_path=path)) as operation:
        operation.status = Status.FAILED if fails else Status.SUCCESS


def ready(catalog: Catalog, *tables: dict[str, Any]) -> tuple[Rule, ...]:
    """Rules that are in force in this catalog."""
    made = rules(*tables)
    catalog.notify_at_end(lambda end: messages(end, made))
    return made


def outcomes(catalog: Catalog) -> list[tuple[str, str, int]]:
    return [(each.rule, each.status, each.attempts) for each in reversed(listed(catalog, 100))]


def test_a_rule_delivers_in_order(catalog: Catalog, server: Receiver) -> None:
    made = ready(catalog, to(server))
    for number in range(5):
        upload(catalog, f"/{number}", fails=number % 2 == 1)
    assert deliver(catalog, made, 30) == 0
    assert [each.body.split(b" ")[3] for each in server.got] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert outcomes(catalog) == [("r0", "delivered", 1)] * 5
    assert deliver(catalog, made, 30) == 0
    assert len(server.got) == 5


def test_only_what_matches_is_told(catalog: Catalog, server: Receiver) -> None:
    made = ready(catalog, to(server, on=["failed"]), to(server, types=["verify"]))
    upload(catalog, "/a")
    assert deliver(catalog, made, 30) == 0
    assert (server.got, listed(catalog, 9)) == ([], [])


def test_what_fails_waits_and_so_does_what_comes_after(catalog: Catalog, server: Receiver) -> None:
    made = ready(catalog, to(server))
    server.answers = [503]
    upload(catalog, "/a")
    upload(catalog, "/b")
    assert deliver(catalog, made, 30) == 1
    assert len(server.got) == 1
    first, second = reversed(listed(catalog, 9))
    assert (first.status, first.attempts, first.error) == ("waiting", 1, "127.0.0.1 answered 503")
    assert first.next_try_at is not None
    assert first.next_try_at > now()
    assert (second.status, second.attempts) == ("waiting", 0)


def test_one_that_is_gone_is_given_up(catalog: Catalog, server: Receiver) -> None:
    made = ready(catalog, to(server))
    server.answers = [410]
    upload(catalog, "/a")
    assert deliver(catalog, made, 30) == 1
    assert outcomes(catalog) == [("r0", "failed", 1)]


def test_a_rule_that_hangs_does_not_delay_others(catalog: Catalog, server: Receiver) -> None:
    with receiver() as hanging:
        release = threading.Event()
        hanging.before_answer = lambda: release.wait(HANGS)
        made = ready(catalog, to(hanging), to(server))
        upload(catalog, "/a")
        upload(catalog, "/b")
        began = time.monotonic()
        assert deliver(catalog, made, 0.8) == 1
        assert time.monotonic() - began < HANGS / 2
        release.set()
    assert len(server.got) == 2
    assert sorted(outcomes(catalog)) == [("r0", "waiting", 0), ("r0", "waiting", 1), *[("r1", "delivered", 1)] * 2]


def test_a_name_that_takes_long_to_resolve_takes_no_longer(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: release.wait(HANGS) and [])
    made = ready(catalog, {"slack": "https://slow.example/x", "on": ["success"]})
    upload(catalog, "/a")
    began = time.monotonic()
    assert deliver(catalog, made, 0.5) == 1
    assert time.monotonic() - began < HANGS / 2
    release.set()
    (found,) = listed(catalog, 9)
    assert found.error == "no answer in time"


def test_a_bug_in_a_channel_is_an_attempt_that_failed(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, server: Receiver
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(delivery, "send", broken)
    made = ready(catalog, to(server))
    upload(catalog, "/a")
    assert deliver(catalog, made, 5) == 1
    assert outcomes(catalog) == [("r0", "waiting", 1)]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Let the outbox be that much later than now."""

    def set_clock(later: timedelta) -> None:
        monkeypatch.setattr(outbox, "now", lambda: now() + later)

    return set_clock


def test_silence_is_told_once(catalog: Catalog, server: Receiver, at: Callable[[timedelta], None]) -> None:
    made = ready(catalog, to(server, on=[], silence="26h", types=["upload", "verify"]))
    upload(catalog, "/a")
    assert deliver(catalog, made, 30) == 0
    assert outcomes(catalog) == [("r0", "expected", 0)] * 2
    at(timedelta(hours=25))
    assert deliver(catalog, made, 30) == 0
    assert server.got == []
    at(timedelta(hours=27))
    for _ in range(2):
        assert deliver(catalog, made, 30) == 0
    texts = sorted(each.body.split(b"mgmt: ")[1].split(b" on ")[0] for each in server.got)
    assert texts == [b"no upload has succeeded for 26 h", b"no verify has succeeded for 26 h"]


def test_a_failure_does_not_end_a_silence(catalog: Catalog, server: Receiver, at: Callable[[timedelta], None]) -> None:
    made = ready(catalog, to(server, on=[], silence="26h"))
    deliver(catalog, made, 30)
    upload(catalog, "/a", fails=True)
    at(timedelta(hours=27))
    assert deliver(catalog, made, 30) == 0
    assert len(server.got) == 1


def test_a_rule_that_no_longer_asks_for_it_tells_of_no_silence(
    catalog: Catalog, server: Receiver, at: Callable[[timedelta], None]
) -> None:
    deliver(catalog, ready(catalog, to(server, on=[], silence="26h")), 30)
    assert [each.event for each in listed(catalog, 9)] == [SILENCE]
    at(timedelta(hours=27))
    assert deliver(catalog, rules(to(server)), 30) == 0
    assert (server.got, listed(catalog, 9)) == ([], [])


def test_a_message_of_another_rule_stays(catalog: Catalog, server: Receiver) -> None:
    ready(catalog, to(server))
    upload(catalog, "/a")
    other = parse_rules([{"name": "other", **to(server)}], "config.toml")
    assert deliver(catalog, other, 30) == 0
    assert (server.got, outcomes(catalog)) == ([], [("r0", "waiting", 0)])


def test_a_worker_delivers_in_another_process(catalog: Catalog, server: Receiver) -> None:
    arrived, release = threading.Event(), threading.Event()
    server.before_answer = lambda: arrived.set() or release.wait(HANGS)  # type: ignore[func-returns-value]
    made = ready(catalog, to(server))
    deliveries = Deliveries(catalog, made)
    deliveries.tend()
    assert deliveries._process is None
    upload(catalog, "/a")
    deliveries.tend()
    first = deliveries._process
    assert arrived.wait(60)
    upload(catalog, "/b")
    deliveries.tend()
    assert deliveries._process == first
    release.set()
    deliveries.finish()
    assert sorted(outcomes(catalog)) == [("r0", "delivered", 1)] * 2
    assert len(server.got) == 2


def test_two_processes_send_each_message_once(catalog: Catalog, server: Receiver, tmp_path: Path) -> None:
    made = ready(catalog, *[to(server)] * 4)
    for number in range(6):
        upload(catalog, f"/{number}")
    catalog.database.close()

    def main() -> int:
        opened = open_catalog(catalog.database.url.render_as_string(hide_password=False))
        while opened.outbox.has_due([rule.name for rule in made]):
            deliver(opened, made, 30)
        opened.close()
        return 0

    children = [Forked(main, environment=os.environ, cwd=tmp_path) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    for child in children:
        child.communicate()
    texts = [json.loads(each.body)["text"] for each in server.got]
    assert len(texts) == 24
    assert set(map(texts.count, texts)) == {4}  # one for each rule
    assert {each[1:] for each in outcomes(catalog)} == {("delivered", 1)}


def test_a_start_is_sent_once_and_not_recorded(catalog: Catalog, server: Receiver) -> None:
    ping = {"ping": f"{server.url}/x", "allow_private": True}
    made = ready(catalog, ping, {**ping, "on": ["success"]}, {**ping, "types": ["verify"]})
    starts = Starts(made)
    catalog.at_begin.append(lambda operation: starts.tell(operation, None))
    upload(catalog, "/a")
    starts.wait(60)
    assert [(each.path, each.body) for each in server.got] == [
        ("/x/start", f"mgmt: upload /a started on {this_host()}".encode())
    ]
    assert [each.event for each in listed(catalog, 9)] == ["operation.success"] * 2


def test_a_start_that_nobody_answers_delays_nothing(catalog: Catalog, server: Receiver) -> None:
    release = threading.Event()
    server.before_answer = lambda: release.wait(HANGS)
    starts = Starts(rules({"ping": server.url, "allow_private": True}))
    began = time.monotonic()
    starts.tell(UploadRecord(target_path="/a"), None)
    assert time.monotonic() - began < HANGS / 2
    starts.wait(0.01)
    assert time.monotonic() - began < HANGS / 2
    release.set()
    starts.wait(60)


def test_trying_rules_records_nothing(server: Receiver) -> None:
    made = rules(to(server), to(server, slack=f"{server.url}/x", allow_private=False))
    first, second = try_rules(made, None)
    assert (first.rule, first.status, first.error) == ("r0", "delivered", None)
    assert (second.status, second.error) == (
        "failed",
        "127.0.0.1: 127.0.0.1 is not a public address; see allow_private",
    )
    assert [each.rule for each in try_rules(made, "r1")] == ["r1"]
    assert len(server.got) == 1
    with pytest.raises(NotFoundError, match="there is no notification rule 'r2'") as caught:
        try_rules(made, "r2")
    assert caught.value.next_step == "mgmt notify test r0\nmgmt notify test r1"
    with pytest.raises(NotFoundError, match=r"there is no notification rule$"):
        try_rules([], None)


FORGED: list[Any] = [
    {"a": 1}, {"data": []}, {"data": {"status": []}, "type": {}}, {"type": "silence", "data": {"silent_seconds": "x"}},
    {"type": "operation.failed\r\nX: y", "data": {"host": "\x1b[2J"}}, {"type": 5, "subject": {}, "since": "soon"},
    {"type": "silence", "subject": "", "since": "2026-01-01T00:00:00"},
    {"since": 5, "subject": "", "data": {"host": 1}}, {"null": 1},
]  # fmt: skip


def test_what_another_program_wrote_is_listed_and_stops_nothing(catalog: Catalog, server: Receiver) -> None:
    url = server.url
    made = ready(
        catalog,
        *({channel: url, "allow_private": True, "silence": "1d"} for channel in ("webhook", "ping", "ntfy", "slack")),
        {"command": ["true"], "silence": "1d"},
    )
    with catalog.database.transaction() as session:
        for number, payload in enumerate(FORGED):
            for rule in made:
                for event in ("odd", SILENCE):
                    session.add(
                        OutboxRecord(
                            message_id=f"{number}{rule.name}{event}",
                            rule=rule.name,
                            event=event,
                            payload=dict(payload),
                            host=this_host(),
                        )
                    )
        session.flush()
        session.execute(text("UPDATE outbox SET payload = 'null' WHERE payload LIKE '%null%'"))
    catalog.database.close()
    assert len(listed(catalog, 500)) == len(FORGED) * len(made) * 2
    upload(catalog, "/a")
    deliver(catalog, made, 30)
    assert all("unexpected" not in str(each.error) for each in listed(catalog, 500))
    assert server.got


def test_a_listed_message_of_another_program_is_shown(catalog: Catalog) -> None:
    with catalog.database.transaction() as session:
        session.add(OutboxRecord(message_id="m", rule="r", event="odd", payload={"a": 1}, host="elsewhere"))
    (found,) = listed(catalog, 9)
    assert (found.text, found.status, found.event) == (
        "mgmt: an event that this mgmt does not know",
        "waiting",
        "odd",
    )


def test_the_place_of_a_bug_is_logged_and_no_secret(
    catalog: Catalog, server: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(rule: Rule, _message: OutboxRecord, _seconds: float) -> None:
        try:
            dict[object, str]()[rule.target]
        except KeyError as exc:
            raise ValueError(f"wrong: {rule.target}") from exc

    made = ready(catalog, to(server))
    upload(catalog, "/a")
    monkeypatch.setattr(delivery, "send", broken)
    with caplog.at_level("INFO", logger="mgmt.services.steps.delivery"):
        assert deliver(catalog, made, 30) == 1
    assert all(str(made[0].target) not in each for each in (caplog.text, str(listed(catalog, 9)[0].error)))
    (line,) = [each.getMessage() for each in caplog.records if "unexpected" in each.getMessage()]
    for part in ("rule r0", "ValueError at delivery.py:", "KeyError at test_notify.py:", " broken"):
        assert part in line
