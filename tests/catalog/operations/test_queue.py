"""The queue: which job may run, who takes it, and what happens when somebody dies."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any

import pytest

from mgmt.catalog import (
    Catalog,
    JobRecord,
    OperationRecord,
    Status,
    UploadRecord,
    Wanted,
    open_catalog,
)
from mgmt.catalog.records.base import now
from mgmt.catalog.records.process import Owner, this_host
from mgmt.errors import BusyError
from tests.catalog.requested import ANYTHING, DEAD, Requests, changed, job
from tests.forked import Forked, child

Reopen = Callable[[], Catalog]


def test_jobs_are_taken_in_the_order_of_their_requests(requests: Requests) -> None:
    made = [requests.add().operation_id for _ in range(3)]
    assert [requests.take() for _ in range(4)] == [*made, None]
    assert {each.taken_by for each, _ in requests.catalog.queue.jobs()} == {str(Owner.current())}


@pytest.mark.parametrize(
    ("facts", "is_taken"),
    [
        ({"not_before": now() - timedelta(seconds=1)}, True),
        ({"not_before": now() + timedelta(days=1)}, False),
        ({"host": this_host()}, True),
        ({"host": "elsewhere"}, False),
        ({"queue": "other"}, False),
        ({"held": True}, False),
        ({"fanned_out": True}, False),
        ({"taken_by": "elsewhere/boot/1/1"}, False),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else str(each),
)
def test_a_job_is_taken_only_when_and_where_it_may_run(
    facts: dict[str, Any], is_taken: bool, requests: Requests
) -> None:
    operation = requests.add(**facts)
    assert requests.take() == (operation.operation_id if is_taken else None)


def test_a_store_has_a_limit_of_its_own(requests: Requests) -> None:
    limited = Wanted(["any"], per_store=2)
    ids = [requests.add(store=f"file:///{store}").operation_id for store in "aaab"]
    unnamed = requests.add().operation_id
    assert [requests.take(limited) for _ in range(5)] == [ids[0], ids[1], ids[3], unnamed, None]
    requests.run(requests.catalog.metadata.require_operation(ids[0]))
    assert requests.take(limited) == ids[2]


def test_a_worker_that_died_has_no_place_of_a_store(requests: Requests) -> None:
    """Whatever queue it served; one that may be alive keeps its place, and nobody waits for it for ever."""
    limited = Wanted(["any"], per_store=1)
    dead, begun = requests.add(store="file:///a", queue="gone"), requests.add(store="file:///a", queue="gone")
    last, other = requests.add(store="file:///a"), requests.add(store="file:///b")
    changed(requests, dead, taken_by=DEAD)
    changed(requests, begun, taken_by=DEAD)
    with requests.catalog.database.transaction() as session:
        session.get_one(OperationRecord, begun.operation_id).status = Status.RUNNING
    assert [requests.take(limited) for _ in range(2)] == [other.operation_id, None]
    assert requests.catalog.jobs.has_more(limited)
    assert requests.take(limited) == last.operation_id
    assert not requests.catalog.jobs.has_more(limited)
    abandoned = requests.catalog.jobs.take_abandoned(Wanted(["gone"], per_store=1))
    assert [each.operation_id for each in abandoned] == [begun.operation_id]


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_place_is_kept_while_its_process_may_live(is_begun: bool, requests: Requests) -> None:
    limited = Wanted(["any"], per_store=1)
    taken, _ = requests.add(store="file:///a"), requests.add(store="file:///a")
    changed(requests, taken, taken_by=DEAD if is_begun else "elsewhere/boot/1/1")
    with requests.catalog.database.transaction() as session:
        if is_begun:
            operation = session.get_one(OperationRecord, taken.operation_id)
            operation.status, operation.owner = Status.RUNNING, str(Owner.current())
    assert requests.catalog.jobs.take_abandoned(limited) == []
    assert (requests.take(limited), requests.catalog.jobs.has_more(limited)) == (None, False)


def take_all(url: str, wanted: Wanted, start: Connection, told: Connection) -> None:
    """In a child: take jobs until there is none, when the test says so."""
    catalog = open_catalog(url)
    catalog.jobs.has_more(wanted)
    told.send("ready")
    start.recv()
    taken: list[str] = []
    while found := catalog.jobs.take(wanted):
        taken += [each.operation_id for each in found]
    catalog.close()
    told.send(taken)


def ended(process: Forked) -> int | None:
    """The exit status of a child."""
    process.communicate()
    return process.returncode


def taken_by_processes(url: str, wanted: Wanted, count: int) -> list[list[str]]:
    """What each of `count` processes takes at once."""
    pipes = [(multiprocessing.Pipe(), multiprocessing.Pipe()) for _ in range(count)]
    children = []
    for (theirs, _), (_, told) in pipes:
        children.append(child(lambda theirs=theirs, told=told: take_all(url, wanted, theirs, told)))  # type: ignore[misc]
    for _, (heard, _) in pipes:
        assert heard.recv() == "ready"
    for (_, start), _ in pipes:
        start.send("go")
    taken = [heard.recv() for _, (heard, _) in pipes]
    assert [ended(each) for each in children] == [0] * count
    return taken


def test_eight_processes_take_each_job_once(requests: Requests, url: str) -> None:
    with requests.catalog.transaction():
        made = [requests.add().operation_id for _ in range(100)]
    requests.catalog.close()
    taken = taken_by_processes(url, ANYTHING, 8)
    assert sorted(chain.from_iterable(taken)) == sorted(made)
    assert requests.take() is None


def test_eight_processes_keep_the_limit_of_a_store(requests: Requests, url: str) -> None:
    with requests.catalog.transaction():
        for _ in range(20):
            requests.add(store="file:///store")
    requests.catalog.close()
    taken = taken_by_processes(url, Wanted(["any"], per_store=3), 8)
    assert len(list(chain.from_iterable(taken))) == 3


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_job_that_another_worker_is_taking_is_skipped(requests: Requests, reopen: Reopen) -> None:
    first, second = requests.add(), requests.add()
    other = Requests(reopen())
    with requests.catalog.transaction():
        assert requests.take() == first.operation_id
        assert other.take() == second.operation_id
        assert other.take() is None


def test_a_worker_that_died_leaves_its_job_to_the_next(requests: Requests, url: str, reopen: Reopen) -> None:
    operation = requests.add()
    requests.catalog.close()

    def die() -> None:
        theirs = Requests(open_catalog(url))
        theirs.take()
        theirs.catalog.journal.run_requested(operation.operation_id)
        with theirs.catalog.journal.record(UploadRecord(target_path="/films/a"), claim="/films/a"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert ended(child(die)) == -signal.SIGKILL
    assert requests.status(operation) is Status.RUNNING
    assert requests.catalog.journal.interrupted() == []
    assert requests.take() is None
    abandoned = requests.catalog.jobs.take_abandoned(ANYTHING)
    assert [(each.operation_id, each.taken_by) for each in abandoned] == [
        (operation.operation_id, str(Owner.current()))
    ]
    assert Requests(reopen()).catalog.jobs.take_abandoned(ANYTHING) == []
    requests.catalog.journal.run_requested(operation.operation_id)
    with requests.catalog.journal.record(UploadRecord(target_path="/films/a"), claim="/films/a") as again:
        assert again.operation_id == operation.operation_id
    assert (requests.status(operation), requests.left()) == (Status.SUCCESS, [])


@pytest.mark.parametrize(
    "owner", ["elsewhere/boot/1/1", str(Owner.current()), "nobody"], ids=["elsewhere", "here", "nobody"]
)
def test_a_job_is_not_abandoned_while_its_worker_may_live(owner: str, requests: Requests) -> None:
    requests.add(taken_by=owner)
    assert requests.catalog.jobs.take_abandoned(ANYTHING) == []


def test_what_a_container_that_is_gone_has_taken_is_released(requests: Requests) -> None:
    """It had the name of this machine; a worker that is alive as seen from here keeps what it has taken."""
    machine = Owner.current().boot.partition("+")[0]
    gone, anywhere, live, running = (requests.add(host=host) for host in (this_host(), None, this_host(), this_host()))
    for each in (gone, anywhere, running):
        changed(requests, each, taken_by=f"{this_host()}/{machine}+1/7/7")
    changed(requests, live, taken_by=str(Owner.current()))
    with requests.catalog.database.transaction() as session:
        operation = session.get_one(OperationRecord, running.operation_id)
        operation.status, operation.owner = Status.RUNNING, str(Owner.current())
    assert requests.catalog.jobs.take_abandoned(ANYTHING) == []
    with pytest.raises(BusyError, match="was taken by process 7") as caught:
        requests.catalog.jobs.take_one(gone.operation_id, worker=None)
    assert f"mgmt recover --host {this_host()}" in str(caught.value.next_step)
    released = requests.catalog.queue.release_from(this_host())
    assert [each.operation_id for each in released] == [gone.operation_id, anywhere.operation_id]
    assert [requests.take() for _ in range(3)] == [gone.operation_id, anywhere.operation_id, None]
    assert (requests.status(running), job(requests, live).taken_by) == (Status.RUNNING, str(Owner.current()))


def test_a_job_of_an_operation_that_has_ended_is_no_work(requests: Requests) -> None:
    """As a program of somebody else may leave one."""
    operation = requests.add()
    requests.run(operation)
    with requests.catalog.database.transaction() as session:
        session.add(JobRecord(operation_id=operation.operation_id, command="upload", queue="any"))
    assert requests.take() is None
    assert requests.catalog.jobs.take_abandoned(ANYTHING) == []
    assert not requests.catalog.jobs.has_more(ANYTHING)
