"""Clocks that are wrong, that differ or that jump while work waits or runs: nothing runs twice, nothing is stuck."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from mgmt.catalog import OperationRecord, Status
from mgmt.catalog.records.base import now
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.process import Owner, this_host
from tests.catalog.requested import ANYTHING, Requests
from tests.clocks import turn_clock, turn_clock_of_database

DEAD = f"{this_host()}/another boot/1/1"
HOUR = timedelta(hours=1)
an_hour = pytest.mark.parametrize("hours", [-1, 1], ids=["an hour back", "an hour forward"])


def begin(requests: Requests, operation: OperationRecord, owner: str, *, hours: int) -> None:
    """Let `owner` run the operation, with the last heartbeat so many hours later than now."""
    with requests.catalog.database.transaction() as session:
        session.execute(
            update(operations)
            .where(operations.c.operation_id == operation.operation_id)
            .values(status=Status.RUNNING, owner=owner, heard_at=now() + hours * HOUR)
        )


@an_hour
@pytest.mark.parametrize("owner", [str(Owner.current()), "elsewhere/boot/1/1"], ids=["here", "elsewhere"])
def test_no_clock_takes_work_from_a_process_that_may_live(
    owner: str, hours: int, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a process is alive is asked of the system, never of a heartbeat."""
    _, running = requests.add(taken_by=owner), requests.add(taken_by=owner)
    begin(requests, running, owner, hours=24 * hours)
    turn_clock(hours, monkeypatch)
    turn_clock_of_database(hours, monkeypatch)
    jobs = requests.catalog.jobs
    assert jobs.take(ANYTHING) == jobs.take_abandoned(ANYTHING) == []
    assert requests.catalog.journal.interrupted() == []


@an_hour
def test_what_a_dead_process_has_left_is_taken_at_any_time(
    hours: int, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, running = requests.add(taken_by=DEAD), requests.add(taken_by=DEAD)
    begin(requests, running, DEAD, hours=24)
    turn_clock(hours, monkeypatch)
    turn_clock_of_database(hours, monkeypatch)
    found = [requests.catalog.jobs.take_abandoned(ANYTHING)[0].operation_id for _ in range(2)]
    assert found == [taken.operation_id, running.operation_id]


@an_hour
def test_the_clock_of_the_database_decides_what_may_run(
    hours: int, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of a machine, which may be wrong: a wait would end at once, or never for another machine."""
    past, _ = requests.add(not_before=now() - HOUR / 2), requests.add(not_before=now() + HOUR / 2)
    turn_clock(hours, monkeypatch)
    assert [requests.take() for _ in range(2)] == [past.operation_id, None]


@an_hour
def test_the_wait_before_an_attempt_is_by_the_clock_of_the_database(
    hours: int, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = requests.add(attempts=2, backoff_seconds=60)
    requests.take()
    turn_clock(hours, monkeypatch)
    before = now()
    requests.catalog.jobs.give_back(operation.operation_id, "it ended", counts=True)
    job = requests.catalog.jobs.job(operation.operation_id)
    assert job is not None
    assert job.not_before is not None
    assert timedelta(seconds=59) < job.not_before - before < timedelta(minutes=10)


def test_what_waits_when_the_clock_jumps_runs_when_that_shows_its_time(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not forgotten, and `mgmt run` does not wait."""
    operation = requests.add(not_before=now() + HOUR / 2)
    for hours in (-1, 0):
        turn_clock_of_database(hours, monkeypatch)
        assert requests.take() is None
    turn_clock_of_database(1, monkeypatch)
    assert requests.take() == operation.operation_id
