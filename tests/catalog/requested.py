"""Requests of operations at the level of the catalog, and how workers run them."""

import contextlib
from collections.abc import Iterable, Sequence

from sqlalchemy import select, update

from mgmt.catalog import BatchRecord, Catalog, JobRecord, NewJob, OperationRecord, Status, UploadRecord, Wanted
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.process import this_host
from mgmt.errors import MgmtError, StoreUnavailableError

ANYTHING = Wanted(["any"])
DEAD = f"{this_host()}/another boot/1/1"
"""A process that is no more, wherever this machine has booted since."""


class Requests:
    """Requests operations of a catalog, and runs them as workers do."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def add(
        self, operation: OperationRecord | None = None, *, after: Iterable[OperationRecord] = (), **facts: object
    ) -> OperationRecord:
        """Request `operation`, by default an upload."""
        operation = operation or UploadRecord(target_path="/films/a")
        given = {"operation_id": "", "command": "upload", "queue": "any", **facts}
        job = JobRecord(**given)  # type: ignore[arg-type]
        self.catalog.queue.add([NewJob(operation, job, [each.operation_id for each in after])])
        return operation

    def batch(self, children: int) -> tuple[OperationRecord, list[OperationRecord]]:
        """Request a batch that has been fanned out."""
        batch = self.add(BatchRecord(target_path="a batch"))
        with self.catalog.transaction():
            made = [
                self.add(UploadRecord(target_path=f"/films/{number}", parent_id=batch.operation_id))
                for number in range(children)
            ]
            self.catalog.queue.note_fanned_out(batch.operation_id)
        return batch, made

    def take(self, wanted: Wanted = ANYTHING) -> str | None:
        """The id of the next operation that may run, which is taken."""
        taken = self.catalog.jobs.take(wanted)
        return taken[0].operation_id if taken else None

    def run(self, operation: OperationRecord, error: MgmtError | None = None) -> None:
        """Run a requested operation to its end, which is a failure if there is an `error`."""
        self.catalog.journal.run_requested(operation.operation_id)
        with (
            contextlib.suppress(*([type(error)] if error is not None else [])),
            self.catalog.journal.record(type(operation)(target_path=operation.target_path)),
        ):
            if error is not None:
                raise error

    def status(self, operation: OperationRecord) -> Status:
        """Its status in the catalog."""
        with self.catalog.database.reading() as session:
            known = operations.c.operation_id == operation.operation_id
            return Status(session.execute(select(operations.c.status).where(known)).scalar_one())

    def statuses(self, made: Sequence[OperationRecord]) -> list[str]:
        """Theirs, as texts."""
        return [str(self.status(each)) for each in made]

    def left(self) -> list[str]:
        """The ids of all operations with a job, in their order."""
        return [job.operation_id for job, _ in self.catalog.queue.jobs()]


def unavailable() -> StoreUnavailableError:
    """An error after which another attempt may succeed."""
    return StoreUnavailableError("the store does not answer")


def changed(requests: Requests, operation: OperationRecord, **facts: object) -> None:
    """Change the job of `operation`."""
    with requests.catalog.database.transaction() as session:
        session.execute(update(JobRecord).where(JobRecord.operation_id == operation.operation_id).values(**facts))


def job(requests: Requests, operation: OperationRecord) -> JobRecord:
    """The job of `operation`, which must have one."""
    found = requests.catalog.jobs.job(operation.operation_id)
    assert found is not None
    return found
