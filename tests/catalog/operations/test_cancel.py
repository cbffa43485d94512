"""What is cancelled, held or released: at once what waits, at its next safe point what runs."""

from collections.abc import Callable

from mgmt.catalog import (
    Catalog,
    OperationRecord,
    Status,
    UploadRecord,
)
from mgmt.catalog.records.process import current_user
from tests.catalog.requested import ANYTHING, Requests, changed, job

Reopen = Callable[[], Catalog]


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
    assert (requests.take(), requests.catalog.jobs.has_more(ANYTHING)) == (None, False)
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
