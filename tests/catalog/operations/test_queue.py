"""The queue: which job may run, who takes it, and what happens when somebody dies or changes their mind."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any

import pytest
from sqlalchemy import update

from mgmt.catalog import (
    Catalog,
    DependencyRecord,
    JobRecord,
    NewJob,
    OperationRecord,
    Status,
    UploadRecord,
    VerifyRecord,
    Wanted,
    open_catalog,
)
from mgmt.catalog.records.base import now
from mgmt.catalog.records.process import Owner, current_user, this_host
from mgmt.errors import BusyError, NotFoundError, RefusedError, StoreError
from tests.catalog.requested import ANYTHING, Requests, unavailable
from tests.forked import Forked, child

Reopen = Callable[[], Catalog]
DEAD = f"{this_host()}/another boot/1/1"
"""A process that is no more, wherever this machine has booted since."""


def changed(requests: Requests, operation: OperationRecord, **facts: object) -> None:
    """Change the job of `operation`."""
    with requests.catalog.database.transaction() as session:
        session.execute(update(JobRecord).where(JobRecord.operation_id == operation.operation_id).values(**facts))


def job(requests: Requests, operation: OperationRecord) -> JobRecord:
    found = requests.catalog.queue.job(operation.operation_id)
    assert found is not None
    return found


def test_a_request_is_pending_until_it_runs(requests: Requests) -> None:
    operation = requests.add(UploadRecord(target_path="/films/a", user="ann"))
    stored = requests.catalog.metadata.require_operation(operation.operation_id)
    assert (stored.status, stored.owner, stored.completed_at, stored.user) == (Status.PENDING, None, None, "ann")
    requests.catalog.journal.run_requested(operation.operation_id)
    with requests.catalog.journal.record(UploadRecord(target_path="/films/a", store="file:///s")) as running:
        assert running.operation_id == operation.operation_id
        assert requests.status(operation) is Status.RUNNING
        assert requests.catalog.journal.interrupted() == []
    assert (requests.status(operation), requests.left()) == (Status.SUCCESS, [])


def test_a_request_that_is_rolled_back_leaves_nothing(requests: Requests, reopen: Reopen) -> None:
    first = requests.add()
    before = requests.left()

    def enqueue() -> None:
        with requests.catalog.transaction():
            second = requests.add(after=[first])
            requests.add(after=[first, second])
            raise StoreError("no")

    with pytest.raises(StoreError):
        enqueue()
    with pytest.raises(NotFoundError, match="there is no operation nothing"):
        requests.catalog.queue.add(
            [NewJob(VerifyRecord(), JobRecord(operation_id="", command="verify", queue="any"), ["nothing"])]
        )
    for catalog in (requests.catalog, reopen()):
        assert [each.operation_id for each in catalog.metadata.list_operations()] == before
        assert [each.operation_id for each, _ in catalog.queue.jobs()] == before
        assert catalog.queue.waits_for(before) == {}


def test_nothing_can_follow_what_has_failed(requests: Requests) -> None:
    good, bad = requests.add(), requests.add()
    requests.run(good)
    requests.run(bad, StoreError("no"))
    last = requests.add(after=[good])
    assert requests.take() == last.operation_id
    with pytest.raises(RefusedError, match="has ended as failed") as caught:
        requests.add(after=[good, bad])
    assert caught.value.next_step == f"mgmt retry {bad.operation_id}"
    assert requests.left() == [last.operation_id]


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


def test_a_job_waits_for_all_that_must_succeed_first(requests: Requests) -> None:
    first, second = requests.add(), requests.add()
    last = requests.add(after=[second, first, second])
    assert requests.catalog.queue.waits_for([last.operation_id]) == {
        last.operation_id: [first.operation_id, second.operation_id]
    }
    for each in (first, second):
        assert requests.take() == each.operation_id
    requests.run(second)
    assert requests.take() is None
    assert not requests.catalog.queue.has_more(ANYTHING)
    requests.run(first)
    assert requests.take() == last.operation_id


def test_a_job_may_wait_for_an_operation_that_was_pruned(requests: Requests) -> None:
    first = requests.add()
    last = requests.add(after=[first])
    requests.run(first)
    with requests.catalog.database.transaction() as session:
        session.execute(update(DependencyRecord).values(after_id="pruned since"))
    assert requests.take() == last.operation_id


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
    assert requests.catalog.queue.has_more(limited)
    assert requests.take(limited) == last.operation_id
    assert not requests.catalog.queue.has_more(limited)
    abandoned = requests.catalog.queue.take_abandoned(Wanted(["gone"], per_store=1))
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
    assert requests.catalog.queue.take_abandoned(limited) == []
    assert (requests.take(limited), requests.catalog.queue.has_more(limited)) == (None, False)


def take_all(url: str, wanted: Wanted, start: Connection, told: Connection) -> None:
    """In a child: take jobs until there is none, when the test says so."""
    catalog = open_catalog(url)
    catalog.queue.has_more(wanted)
    told.send("ready")
    start.recv()
    taken: list[str] = []
    while found := catalog.queue.take(wanted):
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


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_what_is_requested_as_its_predecessor_fails_is_refused_or_cancelled(requests: Requests, reopen: Reopen) -> None:
    """It never waits for ever: the request waits for the end that is about to be committed."""
    first = requests.add()
    other, answers = Requests(reopen()), list[str]()
    other.left()

    def follow() -> None:
        try:
            other.add(after=[first])
        except RefusedError as error:
            answers.append(error.message)

    thread = threading.Thread(target=follow)
    with requests.catalog.database.transaction() as session:
        requests.catalog.queue.cancel(first.operation_id)
        session.flush()
        thread.start()
        thread.join(0.2)
    thread.join()
    assert answers == [f"operation {first.operation_id} has ended as cancelled: nothing can follow it"]
    assert not requests.catalog.queue.has_more(ANYTHING)


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
    abandoned = requests.catalog.queue.take_abandoned(ANYTHING)
    assert [(each.operation_id, each.taken_by) for each in abandoned] == [
        (operation.operation_id, str(Owner.current()))
    ]
    assert Requests(reopen()).catalog.queue.take_abandoned(ANYTHING) == []
    requests.catalog.journal.run_requested(operation.operation_id)
    with requests.catalog.journal.record(UploadRecord(target_path="/films/a"), claim="/films/a") as again:
        assert again.operation_id == operation.operation_id
    assert (requests.status(operation), requests.left()) == (Status.SUCCESS, [])


@pytest.mark.parametrize(
    "owner", ["elsewhere/boot/1/1", str(Owner.current()), "nobody"], ids=["elsewhere", "here", "nobody"]
)
def test_a_job_is_not_abandoned_while_its_worker_may_live(owner: str, requests: Requests) -> None:
    requests.add(taken_by=owner)
    assert requests.catalog.queue.take_abandoned(ANYTHING) == []


def test_a_job_is_given_back_with_a_wait_before_its_next_attempt(requests: Requests) -> None:
    operation = requests.add(attempts=3, backoff_seconds=60)
    for attempt, seconds in ((1, 60), (2, 120)):
        changed(requests, operation, taken_by=DEAD, not_before=None)
        before = now()
        requests.catalog.queue.give_back(operation.operation_id, "it ended", counts=True)
        found = job(requests, operation)
        assert (found.attempt, found.taken_by) == (attempt + 1, None)
        assert found.not_before is not None
        assert timedelta(seconds=seconds - 1) < found.not_before - before < timedelta(seconds=seconds + 30)
    requests.catalog.queue.give_back(operation.operation_id, "it ended", counts=True)
    stored = requests.catalog.metadata.require_operation(operation.operation_id)
    assert (stored.status, stored.error_message, requests.left()) == (Status.FAILED, "it ended", [])


def test_a_job_that_is_given_back_before_it_counts_can_run_at_once(requests: Requests) -> None:
    operation = requests.add()
    requests.take()
    requests.catalog.queue.give_back(operation.operation_id, "stopped", counts=False)
    assert (job(requests, operation).attempt, requests.take()) == (1, operation.operation_id)


def test_a_worker_gives_back_only_what_it_has_taken(requests: Requests) -> None:
    operation = requests.add(taken_by="elsewhere/boot/1/1")
    requests.catalog.queue.give_back(operation.operation_id, "x", counts=True, worker=str(Owner.current()))
    assert job(requests, operation).taken_by == "elsewhere/boot/1/1"


def test_a_job_that_somebody_else_runs_does_not_fail(requests: Requests) -> None:
    """As when a person has run it in the moment before the worker's process would have."""
    operation = requests.add()
    requests.take()
    requests.catalog.journal.run_requested(operation.operation_id)
    with requests.catalog.journal.record(UploadRecord(target_path="/films/a")):
        requests.catalog.queue.give_back(operation.operation_id, "it ended", counts=True)
        assert (requests.status(operation), job(requests, operation).taken_by) == (Status.RUNNING, None)
    assert requests.status(operation) is Status.SUCCESS


@pytest.mark.parametrize(
    ("error", "status"), [(None, "success"), (StoreError("no"), "failed"), (unavailable(), "failed")], ids=str
)
def test_a_request_that_never_begins_ends_as_its_command(
    error: StoreError | None, status: str, requests: Requests
) -> None:
    operation = requests.add()
    requests.catalog.queue.end_requested(operation.operation_id, error)
    assert (requests.status(operation), requests.left()) == (status, [])
    requests.catalog.queue.end_requested(operation.operation_id, StoreError("later"))
    assert requests.status(operation) == status


def test_what_waits_is_cancelled_at_once(requests: Requests) -> None:
    first = requests.add()
    second = requests.add(after=[first])
    requests.catalog.queue.cancel(first.operation_id)
    stored = requests.catalog.metadata.require_operation(first.operation_id)
    assert (stored.status, stored.error_message) == (Status.CANCELLED, f"cancelled by {current_user()}")
    assert stored.cancel_requested_by == current_user()
    assert (requests.status(second), requests.left()) == (Status.CANCELLED, [])
    assert list(requests.catalog.audit.verification().findings()) == []


def test_what_runs_is_asked_to_stop(requests: Requests, reopen: Reopen) -> None:
    operation = requests.add()
    requests.catalog.journal.run_requested(operation.operation_id)
    with requests.catalog.journal.record(UploadRecord(target_path="/films/a")):
        other = reopen()
        other.queue.cancel(operation.operation_id)
        found = other.metadata.require_operation(operation.operation_id)
        assert (found.status, found.cancel_requested_by) == (Status.RUNNING, current_user())
    assert requests.status(operation) is Status.SUCCESS


def test_a_batch_is_cancelled_with_all_that_is_left_of_it(requests: Requests) -> None:
    batch, (done, waiting, running) = requests.batch(3)
    requests.run(done)
    requests.catalog.journal.run_requested(running.operation_id)
    with requests.catalog.journal.record(UploadRecord(target_path="/films/2")):
        requests.catalog.queue.cancel(batch.operation_id)
    stored = requests.catalog.metadata.require_operation(batch.operation_id)
    assert (stored.status, stored.error_message) == (Status.CANCELLED, f"cancelled by {current_user()}")
    assert requests.statuses([done, waiting, running]) == ["success", "cancelled", "success"]
    assert requests.left() == []


def test_one_target_of_a_batch_can_be_cancelled(requests: Requests) -> None:
    batch, (one, two) = requests.batch(2)
    requests.catalog.queue.cancel(one.operation_id)
    assert requests.status(batch) is Status.PENDING
    requests.run(two)
    assert requests.status(batch) is Status.PARTIAL


def test_jobs_that_are_held_wait_for_their_release(requests: Requests) -> None:
    made = [requests.add(held=True) for _ in range(3)]
    assert (requests.take(), requests.catalog.queue.has_more(ANYTHING)) == (None, False)
    assert requests.catalog.queue.release([made[1].operation_id]) == 1
    assert (requests.take(), requests.take()) == (made[1].operation_id, None)
    assert requests.catalog.queue.release(()) == 2
    assert requests.take() == made[0].operation_id


def test_what_a_host_that_is_down_has_taken_is_released(requests: Requests) -> None:
    """All that other machines can run, what has not begun, and nothing of a host whose name is only similar."""
    taken, begun, imported = requests.add(), requests.add(), requests.add()
    bound, similar, upper = requests.add(host="nas_1"), requests.add(), requests.add()
    for each in (taken, begun, bound):
        changed(requests, each, taken_by="nas_1/boot/1/1")
    changed(requests, similar, taken_by="nasx1/boot/1/1")
    changed(requests, upper, taken_by="NAS_1/boot/1/1")
    with requests.catalog.database.transaction() as session:
        for each in (begun, imported):
            operation = session.get_one(OperationRecord, each.operation_id)
            operation.status, operation.owner, operation.claim = Status.RUNNING, "nas_1/boot/2/2", each.operation_id
    assert requests.take() is None
    released = requests.catalog.queue.release_from("nas_1")
    assert [each.operation_id for each in released] == [each.operation_id for each in (taken, begun, imported, bound)]
    assert [requests.take() for _ in range(4)] == [taken.operation_id, begun.operation_id, imported.operation_id, None]
    assert job(requests, bound).taken_by is None


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
    assert requests.catalog.queue.take_abandoned(ANYTHING) == []
    with pytest.raises(BusyError, match="was taken by process 7") as caught:
        requests.catalog.queue.take_one(gone.operation_id, worker=None)
    assert f"mgmt recover --host {this_host()}" in str(caught.value.next_step)
    released = requests.catalog.queue.release_from(this_host())
    assert [each.operation_id for each in released] == [gone.operation_id, anywhere.operation_id]
    assert [requests.take() for _ in range(3)] == [gone.operation_id, anywhere.operation_id, None]
    assert (requests.status(running), job(requests, live).taken_by) == (Status.RUNNING, str(Owner.current()))


def test_one_process_takes_the_job_that_it_is_told_to_run(requests: Requests) -> None:
    """Or leaves it to the worker that has started it; another process is refused until that one is dead."""
    queue, operation = requests.catalog.queue, requests.add()
    for taken_by, worker in ((None, None), (DEAD, None), (str(Owner.current()), None), (DEAD, "another/boot/1/1")):
        changed(requests, operation, taken_by=taken_by)
        found = queue.take_one(operation.operation_id, worker=worker)
        assert found is not None
        assert found.taken_by == str(Owner.current())
    changed(requests, operation, taken_by="another/boot/1/1")
    found = queue.take_one(operation.operation_id, worker="another/boot/1/1")
    assert found is not None
    assert found.taken_by == "another/boot/1/1"
    with pytest.raises(BusyError, match="was taken by process 1 on another"):
        queue.take_one(operation.operation_id, worker=None)
    queue.end_requested(operation.operation_id, StoreError("no"), taken_by=str(Owner.current()))
    assert requests.status(operation) is Status.PENDING
    batch, _ = requests.batch(1)
    assert queue.take_one(batch.operation_id, worker=None) is None
    assert queue.take_one("no such operation", worker=None) is None


def test_a_batch_is_fanned_out_once(requests: Requests) -> None:
    batch, made = requests.batch(1)
    for again in (requests.catalog.queue.batch_to_fan_out, requests.catalog.queue.note_fanned_out):
        with pytest.raises(RefusedError, match="has fanned out already"):
            again(batch.operation_id)
    assert requests.left() == [batch.operation_id, made[0].operation_id]


def test_a_job_of_an_operation_that_has_ended_is_no_work(requests: Requests) -> None:
    """As a program of somebody else may leave one."""
    operation = requests.add()
    requests.run(operation)
    with requests.catalog.database.transaction() as session:
        session.add(JobRecord(operation_id=operation.operation_id, command="upload", queue="any"))
    assert requests.take() is None
    assert requests.catalog.queue.take_abandoned(ANYTHING) == []
    assert not requests.catalog.queue.has_more(ANYTHING)
