"""Attempts: a job is given back to the queue, or run by the process that was told to."""

from datetime import timedelta

import pytest

from mgmt.catalog import (
    Status,
    UploadRecord,
)
from mgmt.catalog.records.base import now
from mgmt.catalog.records.process import Owner
from mgmt.errors import BusyError, StoreError
from tests.catalog.requested import DEAD, Requests, changed, job


def test_a_job_is_given_back_with_a_wait_before_its_next_attempt(requests: Requests) -> None:
    operation = requests.add(attempts=3, backoff_seconds=60)
    for attempt, seconds in ((1, 60), (2, 120)):
        changed(requests, operation, taken_by=DEAD, not_before=None)
        before = now()
        requests.catalog.jobs.give_back(operation.operation_id, "it ended", counts=True)
        found = job(requests, operation)
        assert (found.attempt, found.taken_by) == (attempt + 1, None)
        assert found.not_before is not None
        assert timedelta(seconds=seconds - 1) < found.not_before - before < timedelta(seconds=seconds + 30)
    requests.catalog.jobs.give_back(operation.operation_id, "it ended", counts=True)
    stored = requests.catalog.metadata.require_operation(operation.operation_id)
    assert (stored.status, stored.error_message, requests.left()) == (Status.FAILED, "it ended", [])


def test_a_job_that_is_given_back_before_it_counts_can_run_at_once(requests: Requests) -> None:
    operation = requests.add()
    requests.take()
    requests.catalog.jobs.give_back(operation.operation_id, "stopped", counts=False)
    assert (job(requests, operation).attempt, requests.take()) == (1, operation.operation_id)


def test_a_worker_gives_back_only_what_it_has_taken(requests: Requests) -> None:
    operation = requests.add(taken_by="elsewhere/boot/1/1")
    requests.catalog.jobs.give_back(operation.operation_id, "x", counts=True, worker=str(Owner.current()))
    assert job(requests, operation).taken_by == "elsewhere/boot/1/1"


def test_a_job_that_somebody_else_runs_does_not_fail(requests: Requests) -> None:
    """As when a person has run it in the moment before the worker's process would have."""
    operation = requests.add()
    requests.take()
    requests.catalog.journal.run_requested(operation.operation_id)
    with requests.catalog.journal.record(UploadRecord(target_path="/films/a")):
        requests.catalog.jobs.give_back(operation.operation_id, "it ended", counts=True)
        assert (requests.status(operation), job(requests, operation).taken_by) == (Status.RUNNING, None)
    assert requests.status(operation) is Status.SUCCESS


def test_one_process_takes_the_job_that_it_is_told_to_run(requests: Requests) -> None:
    """Or leaves it to the worker that has started it; another process is refused until that one is dead."""
    queue, jobs, operation = requests.catalog.queue, requests.catalog.jobs, requests.add()
    for taken_by, worker in ((None, None), (DEAD, None), (str(Owner.current()), None), (DEAD, "another/boot/1/1")):
        changed(requests, operation, taken_by=taken_by)
        found = jobs.take_one(operation.operation_id, worker=worker)
        assert found is not None
        assert found.taken_by == str(Owner.current())
    changed(requests, operation, taken_by="another/boot/1/1")
    found = jobs.take_one(operation.operation_id, worker="another/boot/1/1")
    assert found is not None
    assert found.taken_by == "another/boot/1/1"
    with pytest.raises(BusyError, match="was taken by process 1 on another"):
        jobs.take_one(operation.operation_id, worker=None)
    queue.end_requested(operation.operation_id, StoreError("no"), taken_by=str(Owner.current()))
    assert requests.status(operation) is Status.PENDING
    batch, _ = requests.batch(1)
    assert jobs.take_one(batch.operation_id, worker=None) is None
    assert jobs.take_one("no such operation", worker=None) is None
