"""What is requested: all or nothing, what it waits for, and what becomes of it."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import update

from mgmt.catalog import (
    Catalog,
    DependencyRecord,
    JobRecord,
    NewJob,
    Status,
    UploadRecord,
    VerifyRecord,
)
from mgmt.errors import NotFoundError, RefusedError, StoreError
from tests.catalog.requested import ANYTHING, Requests, unavailable

Reopen = Callable[[], Catalog]


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
    assert not requests.catalog.jobs.has_more(ANYTHING)
    requests.run(first)
    assert requests.take() == last.operation_id


def test_a_job_may_wait_for_an_operation_that_was_pruned(requests: Requests) -> None:
    first = requests.add()
    last = requests.add(after=[first])
    requests.run(first)
    with requests.catalog.database.transaction() as session:
        session.execute(update(DependencyRecord).values(after_id="pruned since"))
    assert requests.take() == last.operation_id


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
    assert not requests.catalog.jobs.has_more(ANYTHING)


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


def test_a_batch_is_fanned_out_once(requests: Requests) -> None:
    batch, made = requests.batch(1)
    for again in (requests.catalog.queue.batch_to_fan_out, requests.catalog.queue.note_fanned_out):
        with pytest.raises(RefusedError, match="has fanned out already"):
            again(batch.operation_id)
    assert requests.left() == [batch.operation_id, made[0].operation_id]
