"""Schedules and those who run them: a worker, two workers, a timer, each with both kinds of catalogs."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mgmt.catalog import Catalog, ScheduleRecord, Status, open_catalog
from mgmt.services.steps import timetable
from mgmt.services.steps.due import due_time, run_time
from mgmt.services.steps.requests import Request, When
from mgmt.services.steps.timetable import Timetable
from tests.program import Program

CRON = f"{datetime.now(UTC) + timedelta(hours=12):%M %H} * * *"
"""Once a day, half a day from now: no time comes during a test."""


SECONDS = 600
"""Longer than anything takes on a busy machine."""


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "clip").write_text("contents")
    return on_directory


def add(mgmt: Program, *command: str, name: str = "nightly", days_ago: int = 1, cron: str = CRON) -> None:
    mgmt.ok("schedule", "add", name, cron, "--timezone", "UTC", "--", *command)
    change(mgmt, name, lambda each: setattr(each, "created_at", datetime.now(UTC) - timedelta(days=days_ago)))


def change(mgmt: Program, name: str, how: Callable[[ScheduleRecord], None]) -> None:
    catalog = open_catalog(mgmt.records.url)
    with catalog.transaction():
        how(catalog.schedules.get(name))
    catalog.close()


def operations(mgmt: Program) -> list[dict[str, Any]]:
    return list(reversed(mgmt.json("log", "--limit", "1000")))


def request(schedule: ScheduleRecord) -> Request:
    return Request(command="upload", names=["clip"], arguments={}, when=When(), store=schedule.store)


def test_a_worker_runs_what_is_due_once(mgmt: Program) -> None:
    add(mgmt, "upload", "clip", days_ago=4)
    done = mgmt.run("worker", "--until-empty", "--slots", "1")
    assert done.returncode == 0
    assert "schedule nightly: 3 earlier times were missed" in done.stderr
    (ran,) = operations(mgmt)
    assert (ran["status"], ran["command_args"]["schedule"]["missed"]) == ("success", 3)
    assert mgmt.run("worker", "--until-empty").returncode == 0
    assert len(operations(mgmt)) == 1


def test_a_worker_skips_a_time_while_the_last_run_has_not_ended(mgmt: Program) -> None:
    add(mgmt, "upload", "clip")
    catalog = open_catalog(mgmt.records.url)
    schedule = catalog.schedules.get("nightly")
    time_ = due_time(schedule, datetime.now(UTC))
    assert time_ is not None
    first = run_time(schedule, time_, request, catalog)
    assert first is not None
    first_id = first.operation.operation_id
    catalog.close()
    change(mgmt, "nightly", lambda each: setattr(each, "last_time", datetime.now(UTC) - timedelta(days=1)))
    done = mgmt.run("worker", "--until-empty", "--slots", "1")
    assert "schedule nightly: skipped: the last run" in done.stderr
    ran, skipped = operations(mgmt)
    assert (ran["operation_id"], ran["status"]) == (first_id, "success")
    assert (skipped["status"], skipped["command_args"]["schedule"]["name"]) == ("cancelled", "nightly")
    assert mgmt.json("schedule", "show", "nightly")["last_operation_id"] == skipped["operation_id"]
    mgmt.ok("audit", "verify")


def test_a_worker_runs_the_schedules_of_its_own_machine(mgmt: Program) -> None:
    add(mgmt, "upload", "clip")
    change(mgmt, "nightly", lambda each: setattr(each, "host", "elsewhere"))
    assert mgmt.run("worker", "--until-empty").returncode == 0
    assert operations(mgmt) == []


def test_a_schedule_that_cannot_run_keeps_no_other_from_running(mgmt: Program) -> None:
    add(mgmt, "upload", "clip", name="a")
    add(mgmt, "upload", "clip", name="b")
    change(mgmt, "a", lambda each: setattr(each, "timezone", "Mars/Olympus"))
    done = mgmt.run("worker", "--until-empty", "--slots", "1")
    assert done.returncode == 0
    assert "schedule a cannot run: there is no time zone 'Mars/Olympus'" in done.stderr
    assert [each["command_args"]["schedule"]["name"] for each in operations(mgmt)] == ["b"]
    assert "Mars" in mgmt.json("schedule", "show", "a")["status"]


def test_of_many_that_find_a_schedule_due_one_runs_it(mgmt: Program) -> None:
    """Each has read the schedule before any of them takes its time."""
    add(mgmt, "upload", "clip")
    catalogs = [open_catalog(mgmt.records.url) for _ in range(4)]
    together = threading.Barrier(len(catalogs))
    ran: list[object] = []
    errors: list[BaseException] = []

    def take(catalog: Catalog) -> None:
        try:
            schedule = catalog.schedules.get("nightly")
            due = due_time(schedule, datetime.now(UTC))
            assert due is not None
            together.wait(60)
            ran.append(run_time(schedule, due, request, catalog))
        except BaseException as error:
            errors.append(error)
        finally:
            catalog.close()

    threads = [threading.Thread(target=take, args=(each,)) for each in catalogs]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    assert sum(each is not None for each in ran) == 1
    assert [each["status"] for each in operations(mgmt)] == ["pending"]


def test_a_worker_and_timers_at_the_same_time_run_it_once(mgmt: Program) -> None:
    add(mgmt, "upload", "clip", "--then", "verify")
    timer = ("schedule", "run", "nightly")
    with ExitStack() as stack:
        words = [("worker", "--until-empty", "--slots", "1"), timer, timer]
        together = [stack.enter_context(mgmt.fork("-q", *each)) for each in words]
        assert [each.wait(SECONDS) for each in together] == [0, 0, 0]
    assert [(each["operation_type"], each["status"]) for each in operations(mgmt)] == [
        ("upload", "success"),
        ("verify", "success"),
    ]


def test_a_schedule_that_was_paused_or_made_again_meanwhile_does_not_run(mgmt: Program) -> None:
    add(mgmt, "upload", "clip")
    catalog = open_catalog(mgmt.records.url)

    def make_again() -> None:
        mgmt.ok("schedule", "rm", "nightly")
        add(mgmt, "upload", "clip", days_ago=3)

    changes: list[Callable[[], object]] = [
        lambda: mgmt.ok("schedule", "pause", "nightly"),
        make_again,
        lambda: mgmt.ok("schedule", "rm", "nightly"),
    ]
    for change_it in changes:
        schedule = catalog.schedules.get("nightly")
        schedule_due = due_time(schedule, datetime.now(UTC) + timedelta(days=1))
        catalog.database.detach(schedule)
        change_it()
        if schedule_due is not None:
            assert run_time(schedule, schedule_due, request, catalog) is None
    catalog.close()
    assert operations(mgmt) == []


def test_nothing_is_requested_if_the_transaction_fails(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    add(mgmt, "upload", "clip")
    catalog = open_catalog(mgmt.records.url)
    schedule = catalog.schedules.get("nightly")
    due = due_time(schedule, datetime.now(UTC))
    assert due is not None

    def fail(*_: object) -> bool:
        raise RuntimeError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(type(catalog.schedules), "take_time", fail)
        with pytest.raises(RuntimeError):
            run_time(schedule, due, request, catalog)
    catalog.close()
    assert operations(mgmt) == []
    assert mgmt.json("schedule", "show", "nightly")["last_time"] is None


@pytest.mark.sqlite
def test_schedules_are_read_twice_a_minute_and_when_a_time_has_come(
    mgmt: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(mgmt, "upload", "clip", days_ago=0, cron="* * * * *")
    catalog = open_catalog(mgmt.records.url)
    start = catalog.schedules.get("nightly").created_at.replace(second=1, microsecond=0) + timedelta(minutes=1)
    clock, monotonic = [start], [1000.0]
    change(mgmt, "nightly", lambda each: setattr(each, "last_time", start))
    monkeypatch.setattr(timetable, "clock", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: monotonic[0])
    reads = 0
    real = type(catalog.schedules).all

    def counted(self: Any, host: str | None = None) -> Any:
        nonlocal reads
        reads += 1
        return real(self, host)

    monkeypatch.setattr(type(catalog.schedules), "all", counted)
    tend = Timetable(catalog, request, lambda _: None)
    for _ in range(11):  # 55 s
        tend()
        clock[0] += timedelta(seconds=5)
        monotonic[0] += 5
    assert reads == 2
    assert catalog.schedules.unfinished("nightly") == []
    clock[0] = start + timedelta(seconds=59)
    tend()
    assert len(catalog.schedules.unfinished("nightly")) == 1
    catalog.close()


@pytest.mark.sqlite
@pytest.mark.parametrize("hours", [-1, 1], ids=["an hour back", "an hour forward"])
def test_when_the_clock_jumps_no_time_runs_twice_and_none_is_the_last(
    hours: int, mgmt: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(mgmt, "upload", "clip", days_ago=0, cron="*/10 * * * *")
    catalog = open_catalog(mgmt.records.url)
    now, passed = catalog.schedules.get("nightly").created_at, 1000.0
    monkeypatch.setattr(timetable, "clock", lambda: now)
    monkeypatch.setattr(time, "monotonic", lambda: passed)
    tend, ran = Timetable(catalog, request, lambda _: None), []
    for minutes in range(0, 150, 5):
        tend()
        ran.append(mgmt.records.rows("SELECT count(*) FROM operations")[0][0])
        now, passed = now + timedelta(minutes=5) + timedelta(hours=hours if minutes == 45 else 0), passed + 300
    catalog.close()
    times = [each["command_args"]["schedule"]["time"] for each in operations(mgmt)]
    assert times == sorted(set(times))
    assert 0 < ran[9] < ran[-1]
    assert len(times) >= (150 - max(0, -60 * hours)) // 10 - 1


def test_a_skipped_operation_is_not_a_job(mgmt: Program) -> None:
    add(mgmt, "upload", "clip")
    catalog = open_catalog(mgmt.records.url)
    from mgmt.catalog import UploadRecord

    schedule = catalog.schedules.get("nightly")
    ends: list[str | None] = []
    catalog.database.at_end.append(lambda _, end: ends.append(end.schedule))
    catalog.schedules.record_end(UploadRecord(target_path="/x"), Status.CANCELLED, "skipped", schedule)
    catalog.close()
    assert ends == ["nightly"]  # what notifications are about
    assert mgmt.json("queue") == []
    assert [each["error_message"] for each in operations(mgmt)] == ["skipped"]
