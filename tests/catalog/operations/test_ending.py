"""What the end of an operation means for its next attempt, for what waits for it, and for its batch."""

import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import event

from mgmt.catalog import (
    BatchRecord,
    Catalog,
    DependencyRecord,
    DownloadRecord,
    FileRecord,
    FileStatus,
    FreeRecord,
    JobRecord,
    Location,
    OperationRecord,
    Role,
    Status,
    UploadRecord,
    VerifyRecord,
    open_catalog,
)
from mgmt.catalog.operations.ending import backoff, repeated
from mgmt.catalog.records.base import now
from mgmt.errors import RefusedError, StoreError
from tests.catalog.requested import Requests, unavailable

FAILED = StoreError("no")


def chain(requests: Requests, length: int) -> list[OperationRecord]:
    """Operations that wait for one another."""
    made = [requests.add()]
    with requests.catalog.transaction():
        while len(made) < length:
            made.append(requests.add(after=[made[-1]]))
    return made


def test_success_lets_the_next_one_run(requests: Requests) -> None:
    made = chain(requests, 3)
    for each in made:
        assert requests.take() == each.operation_id
        assert requests.take() is None
        requests.run(each)
    assert requests.statuses(made) == ["success"] * 3
    assert requests.left() == []


@pytest.mark.parametrize("end", [Status.FAILED, Status.CANCELLED])
def test_what_waits_for_a_failure_is_cancelled_with_the_reason(end: Status, requests: Requests) -> None:
    first, second, third = chain(requests, 3)
    other = requests.add()
    if end is Status.FAILED:
        requests.run(first, FAILED)
    else:
        requests.catalog.queue.cancel(first.operation_id)
    assert requests.statuses([first, second, third, other]) == [str(end), "cancelled", "cancelled", "pending"]
    stored = requests.catalog.metadata.require_operation(second.operation_id)
    assert stored.error_message == f"cancelled: upload {first.operation_id} ended as {end}"
    assert stored.sha256 is not None
    assert requests.left() == [other.operation_id]


def test_what_waits_for_several_is_cancelled_by_one_failure(requests: Requests) -> None:
    good, bad = requests.add(), requests.add()
    last = requests.add(after=[good, bad])
    requests.run(good)
    assert requests.status(last) is Status.PENDING
    requests.run(bad, FAILED)
    assert requests.status(last) is Status.CANCELLED


@pytest.fixture
def shallow() -> Iterator[int]:
    """Python's stack, as low as SQLAlchemy and pytest allow: with the usual one the test takes five times as long."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    yield 400
    sys.setrecursionlimit(before)


def test_a_deep_chain_is_cancelled_without_recursion(requests: Requests, shallow: int) -> None:
    made = [UploadRecord(target_path="/films/a") for _ in range(shallow)]
    ids = [each.operation_id for each in made]
    with requests.catalog.database.transaction() as session:
        session.add_all(made)
        session.flush()
        session.add_all(JobRecord(operation_id=each, command="upload", queue="any") for each in ids)
        session.flush()
        session.add_all(DependencyRecord(operation_id=each, after_id=before) for before, each in pairwise(ids))
    requests.run(made[0], FAILED)
    assert requests.left() == []
    assert requests.statuses([made[0], made[1], made[-1]]) == ["failed", "cancelled", "cancelled"]
    assert requests.catalog.audit.seal() == shallow


def test_another_attempt_follows_what_may_succeed_later(requests: Requests) -> None:
    operation = requests.add(
        UploadRecord(target_path="/films/caf\udce9", command_args={"names": ["caf\udce9"]}, user="ann"),
        attempts=3, backoff_seconds=60, store="file:///store", host="nas", schedule="daily", template="raw",
    )  # fmt: skip
    before = now()
    requests.run(operation, unavailable())
    ((job, again),) = requests.catalog.queue.jobs()
    assert (again.retry_of, again.target_path, again.user) == (operation.operation_id, "/films/caf\udce9", "ann")
    assert (again.target_name, again.command_args, again.status) == ("caf\udce9", {"names": ["caf\udce9"]}, "pending")
    assert (job.attempt, job.attempts, job.store, job.host) == (2, 3, "file:///store", "nas")
    assert (job.schedule, job.template, job.taken_by) == ("daily", "raw", None)
    assert job.not_before is not None
    assert timedelta(seconds=59) < job.not_before - before < timedelta(seconds=90)
    requests.run(again, unavailable())
    ((job, third),) = requests.catalog.queue.jobs()
    assert job.not_before is not None
    assert job.not_before - before > timedelta(seconds=119)
    requests.run(third, unavailable())
    assert requests.left() == []
    assert requests.statuses([operation, again, third]) == ["failed"] * 3


def test_what_cannot_succeed_later_is_not_tried_again(requests: Requests) -> None:
    operation = requests.add(attempts=3)
    requests.run(operation, FAILED)
    assert (requests.status(operation), requests.left()) == (Status.FAILED, [])


def test_what_somebody_has_cancelled_is_not_tried_again(requests: Requests) -> None:
    operation = requests.add(attempts=3)
    requests.catalog.journal.run_requested(operation.operation_id)

    def stop_and_fail() -> None:
        with requests.catalog.journal.record(UploadRecord(target_path="/films/a")):
            requests.catalog.queue.cancel(operation.operation_id)
            raise unavailable()

    with pytest.raises(StoreError):
        stop_and_fail()
    assert requests.left() == []


def test_what_waits_for_a_failure_waits_for_its_next_attempt(requests: Requests) -> None:
    """All of it works on what the attempt makes, as `upload --then verify --then free` does."""
    upload = requests.add(attempts=2)
    names = {"names": [upload.operation_id, "other"]}
    verify = requests.add(VerifyRecord(command_args=dict(names)), after=[upload], command="verify")
    free = requests.add(FreeRecord(command_args=dict(names)), after=[verify], command="free")
    requests.run(upload, unavailable())
    again = requests.catalog.queue.jobs()[-1][1]
    assert requests.catalog.queue.waits_for([verify.operation_id]) == {verify.operation_id: [again.operation_id]}
    for each in (verify, free):
        stored = requests.catalog.metadata.require_operation(each.operation_id)
        assert stored.command_args == {"names": [again.operation_id, "other"]}
    requests.run(again)
    assert requests.take() == verify.operation_id
    requests.run(verify)
    assert requests.take() == free.operation_id


def test_the_last_attempt_cancels_what_waits(requests: Requests) -> None:
    upload = requests.add(attempts=2)
    verify = requests.add(VerifyRecord(), after=[upload], command="verify")
    requests.run(upload, unavailable())
    requests.run(requests.catalog.queue.jobs()[-1][1], unavailable())
    assert (requests.status(verify), requests.left()) == (Status.CANCELLED, [])


@pytest.mark.parametrize(
    "operation",
    [
        UploadRecord(target_path="/caf\udce9", store="file:///store", s3_storage_class="cold", command_args={"a": 1}),
        DownloadRecord(target_path="caf\udce9.tar.gz", member="caf\udce9/b", user="ann"),
        BatchRecord(target_path="2 targets"),
    ],
    ids=lambda each: each.operation_type,
)
def test_a_repeated_operation_does_the_same(operation: OperationRecord) -> None:
    again = repeated(operation)
    same = ("target_path", "target_name", "user", "command_args", "store", "s3_storage_class", "member", "parent_id")
    for name in same:
        assert getattr(again, name, None) == getattr(operation, name, None)
    assert again.command_args is not operation.command_args
    assert (again.retry_of, again.status) == (operation.operation_id, Status.PENDING)


@pytest.mark.parametrize(
    ("ends", "status", "message"),
    [
        ((None, None), "success", None),
        ((None, FAILED), "partial", "1 of 2 targets was not done: 1 failed"),
        ((FAILED, FAILED), "failed", "2 of 2 targets were not done: 2 failed"),
    ],
)
def test_a_batch_ends_with_its_last_operation(
    ends: tuple[StoreError | None, ...], status: str, message: str | None, requests: Requests
) -> None:
    batch, made = requests.batch(2)
    last = requests.add(after=[batch])
    requests.run(made[0], ends[0])
    assert (requests.status(batch), requests.status(last)) == (Status.PENDING, Status.PENDING)
    requests.run(made[1], ends[1])
    stored = requests.catalog.metadata.require_operation(batch.operation_id)
    assert (stored.status, stored.error_message) == (status, message)
    assert requests.left() == ([last.operation_id] if status == "success" else [])


def test_a_batch_of_one_says_so(requests: Requests) -> None:
    batch, (only,) = requests.batch(1)
    requests.run(only, FAILED)
    stored = requests.catalog.metadata.require_operation(batch.operation_id)
    assert (stored.status, stored.error_message) == ("failed", "its only target was not done: 1 failed")


def test_a_target_that_is_tried_again_counts_once(requests: Requests) -> None:
    batch, (one, two) = requests.batch(2)
    with requests.catalog.database.transaction():
        job = requests.catalog.jobs.job(one.operation_id)
        assert job is not None
        job.attempts = 2
    requests.run(two)
    requests.run(one, unavailable())
    assert requests.status(batch) is Status.PENDING
    requests.run(requests.catalog.queue.jobs()[-1][1])
    assert requests.status(batch) is Status.SUCCESS
    assert requests.catalog.queue.children(batch.operation_id) == {Status.SUCCESS: 2}


def test_a_batch_without_targets_has_succeeded(requests: Requests) -> None:
    batch, _ = requests.batch(0)
    assert (requests.status(batch), requests.left()) == (Status.SUCCESS, [])


def test_a_batch_that_was_cancelled_cannot_be_fanned_out(requests: Requests) -> None:
    batch = requests.add(BatchRecord(target_path="a batch"))
    requests.catalog.queue.cancel(batch.operation_id)

    def fan_out() -> None:
        with requests.catalog.transaction():
            requests.add(UploadRecord(target_path="/films/1", parent_id=batch.operation_id))
            requests.catalog.queue.note_fanned_out(batch.operation_id)

    with pytest.raises(RefusedError, match="has ended"):
        fan_out()
    assert requests.left() == []


@pytest.mark.parametrize("last", ["attempt", "refusal"])
def test_a_batch_that_ends_before_it_has_fanned_out_takes_its_operations_along(last: str, requests: Requests) -> None:
    """They were held until all would be there: nobody else ever releases them."""
    batch, queue = requests.add(BatchRecord(target_path="a batch")), requests.catalog.queue
    parts = [requests.add(VerifyRecord(parent_id=batch.operation_id), held=True) for _ in range(2)]
    parts.append(requests.add(after=[parts[-1]], held=True))
    other = requests.add(after=[batch])
    if last == "attempt":
        requests.take()
        requests.catalog.jobs.give_back(batch.operation_id, "its process ended with exit status -9", counts=True)
    else:
        queue.end_requested(batch.operation_id, FAILED)
    assert requests.statuses([batch, *parts, other]) == ["failed", *["cancelled"] * 4]
    stored = requests.catalog.metadata.require_operation(parts[0].operation_id)
    assert stored.error_message == f"cancelled: batch {batch.operation_id} ended as failed"
    assert requests.left() == []


@pytest.mark.parametrize(
    ("seconds", "attempt", "waited"),
    [
        (60, 3, timedelta(seconds=240)),
        (10**15, 1, timedelta(days=1)),
        (3600, 10**15, timedelta(days=1)),
        (-(10**15), 1, timedelta(0)),
    ],
)
def test_no_wait_is_longer_than_a_day(seconds: int, attempt: int, waited: timedelta) -> None:
    """Whoever can write the catalog could end every worker otherwise."""
    job = JobRecord(operation_id="", command="upload", queue="any", attempt=attempt, backoff_seconds=seconds)
    assert backoff(job) == waited


def test_the_original_of_an_upload_that_died_is_not_uploading_for_ever(requests: Requests) -> None:
    operation, catalog = requests.add(attempts=1), requests.catalog
    original = FileRecord(path="/films/a", location=Location.LOCAL, host="nas", status=FileStatus.UPLOADING)
    requests.take()
    catalog.journal.link(operation, catalog.metadata.save_file_record(original), Role.SOURCE)
    catalog.journal.checkpoint()
    catalog.jobs.give_back(operation.operation_id, "its process ended with exit status -9", counts=True)
    assert requests.status(operation) is Status.FAILED
    (found,) = catalog.metadata.list_files("/films")
    assert (found.status, found.error_message) == (FileStatus.FAILED, "its process ended with exit status -9")


@pytest.fixture
def others(url: str) -> Iterator[Callable[[], Catalog]]:
    """Catalogs of other threads."""
    opened: list[Catalog] = []

    def again() -> Catalog:
        opened.append(open_catalog(url))
        return opened[-1]

    yield again
    for each in opened:
        each.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_batch_ends_once_when_two_operations_end_at_the_same_moment(
    requests: Requests, others: Callable[[], Catalog]
) -> None:
    """Each has written its end, and sees the other running, until one of them commits."""
    batch, made = requests.batch(2)
    both = threading.Barrier(2)
    problems: list[BaseException] = []

    def end(operation_id: str) -> None:
        mine = Requests(others())
        operation = mine.catalog.metadata.require_operation(operation_id)

        def meet(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            mine_ends = operation_id in str(parameters) and "success" in str(parameters)
            if statement.startswith("UPDATE operations") and mine_ends:
                both.wait(30)

        with mine.catalog.database.transaction():
            event.listen(mine.catalog.database.bind(), "after_cursor_execute", meet)
        try:
            mine.run(operation)
        except BaseException as error:
            problems.append(error)
            both.abort()

    threads = [threading.Thread(target=end, args=[each.operation_id]) for each in made]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert problems == []
    assert requests.statuses([batch, *made]) == ["success"] * 3
    assert requests.left() == []
