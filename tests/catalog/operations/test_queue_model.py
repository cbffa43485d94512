"""The queue against a model of it: requests, workers and people in any order, on both databases."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mgmt.catalog import (
    BatchRecord,
    Catalog,
    DependencyRecord,
    JobRecord,
    OperationRecord,
    Status,
    UploadRecord,
    Wanted,
)
from mgmt.catalog.records.operations import operations
from mgmt.errors import RefusedError, StoreError
from tests.catalog.requested import Requests, unavailable

LAST = -1
"""The number of the operation that was requested last."""

LIVE = ("pending", "taken", "fanned out")


@dataclass(eq=False)
class Expected:
    """What should become of an operation."""

    record: OperationRecord
    attempts: int
    after: set["Expected"] = field(default_factory=set)
    batch: "Expected | None" = None
    status: str = "pending"
    attempt: int = 1
    repeated: bool = False

    @property
    def stored(self) -> str:
        return "pending" if self.status in LIVE else self.status


class Model:
    """What the queue should do, in a few lines, and the queue that has to do it."""

    def __init__(self, catalog: Catalog, queue: str) -> None:
        self.requests, self.queue = Requests(catalog), queue
        self.wanted = Wanted([queue])
        self.made: list[Expected] = []

    def add(self, after: list[int], attempts: int) -> None:
        """Request an operation that waits for those with these numbers."""
        before = {self.made[each % len(self.made)] for each in after} if self.made else set()
        expected = Expected(
            UploadRecord(target_path="/films/a"), attempts, {x for x in before if x.status != "success"}
        )
        try:
            self.request(expected, before)
        except RefusedError:
            assert any(each.status not in (*LIVE, "success") for each in before)
        else:
            assert all(each.status in (*LIVE, "success") for each in before)
            self.made.append(expected)

    def request(self, expected: Expected, after: Iterable[Expected] = ()) -> None:
        facts = {"queue": self.queue, "attempts": expected.attempts, "backoff_seconds": 0}
        self.requests.add(expected.record, after=[each.record for each in after], **facts)

    def add_batch(self, count: int, attempts: int) -> None:
        batch = Expected(BatchRecord(target_path="a batch"), 1, status="fanned out")
        self.request(batch)
        self.made.append(batch)
        with self.requests.catalog.transaction():
            for _ in range(count):
                child = UploadRecord(target_path="/films/a", parent_id=batch.record.operation_id)
                self.made.append(Expected(child, attempts, batch=batch))
                self.request(self.made[-1])
            self.requests.catalog.queue.note_fanned_out(batch.record.operation_id)
        self.end_batch(batch)

    def work(self, how: str) -> None:
        """A worker takes the next job, and this becomes of it."""
        may_run = [each for each in self.made if each.status == "pending" and self.met(each)]
        taken = self.requests.take(self.wanted)
        assert taken == (may_run[0].record.operation_id if may_run else None)
        if taken is None:
            return
        expected, queue = may_run[0], self.requests.catalog.queue
        jobs = self.requests.catalog.jobs
        if how == "hang":
            expected.status = "taken"
        elif how == "stop":
            jobs.give_back(taken, "stopped", counts=False)
        elif how == "die":
            jobs.give_back(taken, "it died", counts=True)
            self.try_again(expected)
        elif how == "nothing to do":
            queue.end_requested(taken, None)
            self.end(expected, "success")
        else:
            error = {"success": None, "failure": StoreError("no"), "unavailable": unavailable()}[how]
            self.requests.run(expected.record, error)
            if error is None:
                self.end(expected, "success")
            elif how == "failure" or expected.attempt == expected.attempts:
                self.end(expected, "failed")
            else:
                self.repeat(expected)

    def met(self, expected: Expected) -> bool:
        return all(each.status == "success" for each in expected.after)

    def try_again(self, expected: Expected) -> None:
        """The same operation, which has not begun."""
        if expected.attempt == expected.attempts:
            self.end(expected, "failed")
        else:
            expected.attempt += 1

    def repeat(self, expected: Expected) -> None:
        """A new operation, for which all wait that waited for this one."""
        ids = {each.record.operation_id for each in self.made}
        (record,) = [each for job, each in self.requests.catalog.queue.jobs()
                     if job.queue == self.queue and each.operation_id not in ids]  # fmt: skip
        assert record.retry_of == expected.record.operation_id
        again = Expected(record, expected.attempts, batch=expected.batch, attempt=expected.attempt + 1)
        self.made.append(again)
        expected.status, expected.repeated = "failed", True
        for each in self.made:
            if expected in each.after:
                each.after = (each.after - {expected}) | {again}

    def cancel(self, index: int) -> None:
        if not self.made:
            return
        expected = self.made[index % len(self.made)]
        self.requests.catalog.queue.cancel(expected.record.operation_id)
        parts = [each for each in self.made if each.batch is expected]
        for each in (expected, *parts):
            self.end(each, "cancelled")

    def end(self, expected: Expected, status: str) -> None:
        if expected.status not in LIVE:
            return
        expected.status = status
        if status != "success":
            for each in self.made:
                if expected in each.after:
                    self.end(each, "cancelled")
        if expected.batch is not None:
            self.end_batch(expected.batch)

    def end_batch(self, batch: Expected) -> None:
        ends = Counter(each.status for each in self.made if each.batch is batch and not each.repeated)
        if not any(ends[each] for each in LIVE):
            done = ends["success"]
            self.end(batch, "success" if done == ends.total() else "partial" if done else "failed")

    def check(self) -> None:
        """The catalog has what the model expects, and only what is left to do has a job."""
        with self.requests.catalog.database.reading() as session:
            ids = [each.record.operation_id for each in self.made]
            query = select(operations.c.operation_id, operations.c.status).where(operations.c.operation_id.in_(ids))
            statuses = {operation_id: str(Status(status)) for operation_id, status in session.execute(query)}
            attempts = select(JobRecord.operation_id, JobRecord.attempt).where(JobRecord.queue == self.queue)
            jobs = dict(session.execute(attempts).all())
            waits = set(
                session.scalars(select(DependencyRecord.operation_id).where(DependencyRecord.after_id.in_(ids)))
            )
        assert statuses == {each.record.operation_id: each.stored for each in self.made}
        assert jobs == {each.record.operation_id: each.attempt for each in self.made if each.status in LIVE}
        assert waits <= jobs.keys()


ENDS = ("success", "unavailable", "die", "failure", "nothing to do", "hang", "stop")
REQUESTS = st.one_of(
    st.tuples(st.just("add"), st.lists(st.integers(0, 20), max_size=2), st.sampled_from([1, 2, 3])),
    st.tuples(st.just("add_batch"), st.integers(0, 3), st.sampled_from([2, 1, 3])),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
)
WORK = st.lists(st.sampled_from(ENDS), min_size=2, max_size=5)
_numbers = itertools.count(1)


Steps = list[tuple[tuple[str, *tuple[object, ...]], list[str]]]

TRIED_AGAIN: Steps = [
    (("add", [], 3), ["unavailable", "die", "unavailable"]),  # each attempt counts, and the third is the last
    (("add", [], 3), ["die", "stop", "die", "die"]),  # one that was stopped is none
    (("add_batch", 2, 2), ["unavailable", "success", "success"]),  # the batch has succeeded
    (("add_batch", 2, 2), ["unavailable", "unavailable", "unavailable", "success"]),  # half of it
    (("add_batch", 1, 3), ["unavailable", "unavailable", "success"]),
    (("add", [], 2), []),
    (("add", [LAST], 1), ["unavailable", "success", "success"]),  # what waits for an attempt waits for the next one
]
"""What attempts are about."""


@example(steps=TRIED_AGAIN)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(REQUESTS, WORK), min_size=4, max_size=7))
def test_the_queue_does_what_its_model_does(steps: Steps, catalog: Catalog) -> None:
    """Each example has a queue of its own in the same catalog."""
    model = Model(catalog, f"queue {next(_numbers)}")
    for (name, *arguments), ends in steps:
        getattr(model, name)(*arguments)
        for each in ends:
            model.work(each)
            model.check()
    assert list(catalog.audit.verification().findings()) == []
