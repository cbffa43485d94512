"""Which process takes which job, and gives it back: no job has two at a time, and none is lost with its process."""

from collections.abc import Callable
from itertools import islice
from typing import Any

from sqlalchemy import Select, and_, func, select, update
from sqlalchemy.orm import Session

from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.due import Wanted, begun_jobs, free_jobs, jobs_left
from mgmt.catalog.operations.ending import end_unrun, next_time, remove_job
from mgmt.catalog.operations.ownership import is_dead, taken
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.jobs import JobRecord
from mgmt.catalog.records.operations import OperationRecord, operations
from mgmt.catalog.records.process import Owner

PARTS = 4
"""One process takes this part, at most, of what is left of a batch, so that the last ones are not all its own."""


class Jobs:
    """The jobs of requested operations, for the processes that run them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job(self, operation_id: str) -> JobRecord | None:
        """The job of an operation; None if it has none, or has ended."""
        with self._database.reading() as session:
            return session.get(JobRecord, operation_id, populate_existing=True)

    def take(self, wanted: Wanted, *, most: Callable[[str], int] = lambda _: 1) -> list[JobRecord]:
        """Take the next job that may run, for this process; with it others of its batch, if `most` of its command is
        more than 1. Empty if there is none.
        """
        free = free_jobs(wanted)
        with self._database.reading() as session:
            if session.scalar(free.limit(1)) is None:
                return []
        with self._database.transaction() as session:
            if wanted.per_store is not None:  # two workers must not both find the last place free
                self._database.advisory_lock("mgmt jobs of a store")
            locked = free.with_for_update(of=JobRecord, skip_locked=True)
            first = session.scalar(locked.limit(1).execution_options(populate_existing=True))
            if first is None:
                return []
            found = [first]
            batch = session.scalar(
                select(operations.c.parent_id).where(operations.c.operation_id == first.operation_id)
            )
            if batch is not None and (count := most(first.command)) > 1:
                same = and_(operations.c.parent_id == batch, JobRecord.command == first.command)
                count = _share(session, free.where(same), count)
                found = list(session.scalars(locked.where(same).limit(count).execution_options(populate_existing=True)))
            for job in found:
                job.taken_by = str(Owner.current())
            return found

    def take_abandoned(self, wanted: Wanted, *, most: Callable[[str], int] = lambda _: 1) -> list[JobRecord]:
        """Take a job whose worker has died on this machine, together with the process that ran it.

        With it others of its batch, as `take` does.
        """
        self._forget_dead(wanted)
        batches: dict[tuple[str, str], list[Any]] = {}
        with self._database.reading() as session:
            for each in session.execute(begun_jobs(wanted)).all():
                if is_dead(each.taken_by) and is_dead(each.owner):
                    batches.setdefault((each.command, each.parent_id or each.operation_id), []).append(each)
        me = str(Owner.current())
        for (command, _), left in batches.items():
            with self._database.transaction():
                mine = (each for each in left if self._swap_taker(each.operation_id, each.taken_by, me))
                taken = [self.job(each.operation_id) for each in islice(mine, most(command))]
            if taken:  # otherwise another worker was faster
                return [job for job in taken if job is not None]
        return []

    def _forget_dead(self, wanted: Wanted) -> None:
        """Let no worker that has died on this machine, whatever its queue, count for the limit of a store."""
        if wanted.per_store is None:
            return
        with self._database.reading() as session:
            query = (
                select(JobRecord.taken_by, operations.c.owner, JobRecord.operation_id)
                .join(operations, operations.c.operation_id == JobRecord.operation_id)
                .where(JobRecord.taken_by.is_not(None), JobRecord.store.is_not(None))
            )
            taken = session.execute(query).all()
        for taken_by, owner, operation_id in taken:
            if is_dead(taken_by) and is_dead(owner):
                self._swap_taker(operation_id, taken_by, None)

    def _swap_taker(self, operation_id: str, before: str | None, after: str | None) -> bool:
        """Compare and swap who has taken a job."""
        with self._database.transaction() as session:
            swapped: Any = session.execute(
                update(JobRecord)
                .where(JobRecord.operation_id == operation_id)
                .where(JobRecord.taken_by.is_not_distinct_from(before))
                .values(taken_by=after)
                .execution_options(synchronize_session=False)
            )
            return bool(swapped.rowcount)

    def take_one(self, operation_id: str, *, worker: str | None) -> JobRecord | None:
        """Take this job for this process, or let it be if `worker` has taken it, on whose behalf this one runs.

        None if it has ended or fanned out. Raises BusyError if a process that may be alive has taken it.
        """
        me = str(Owner.current())
        with self._database.transaction() as session:
            query = select(JobRecord).where(JobRecord.operation_id == operation_id, ~JobRecord.fanned_out)
            job = session.scalar(query.with_for_update().execution_options(populate_existing=True))
            if job is None or (job.taken_by is not None and job.taken_by in (worker, me)):
                return job
            if not is_dead(job.taken_by):
                raise taken(operation_id, Owner.parse(str(job.taken_by)))
            job.taken_by = me
            return job

    def give_back(self, operation_id: str, message: str, *, counts: bool, worker: str | None = None) -> None:
        """The process that ran a job has ended and its operation has not: the job waits for its next attempt.

        With `counts` this one was an attempt. If it was the last, an operation that has not begun fails with `message`;
        one that has begun is left to `mgmt recover`, as any interrupted one. A `worker` gives back only what it has
        taken and nobody has given back since.
        """
        with self._database.transaction() as session:
            job = session.get(JobRecord, operation_id, populate_existing=True)
            if job is None or job.fanned_out or (worker is not None and job.taken_by != worker):
                return
            job.taken_by = None
            operation = session.get(OperationRecord, operation_id, populate_existing=True)
            if operation is None or not is_dead(operation.owner):
                return  # somebody else runs it
            if counts and job.attempt >= job.attempts and operation.status == Status.RUNNING:
                remove_job(session, operation_id)
            elif counts and job.attempt >= job.attempts:
                end_unrun(session, operation_id, Status.FAILED, message)
            elif counts:
                job.not_before = next_time(session, job)
                job.attempt += 1

    def has_more(self, wanted: Wanted) -> bool:
        """Whether there is a job for this machine to run, now or at its next attempt.

        Not one that waits for another operation or for a place of its store, or that somebody else has taken and may be
        running.
        """
        self._forget_dead(wanted)
        with self._database.reading() as session:
            return any(is_dead(taken_by) and is_dead(owner) for taken_by, owner in session.execute(jobs_left(wanted)))


def _share(session: Session, free: Select[JobRecord], most: int) -> int:
    """How many of the `free` jobs to take: fewer near the end, but not so few that starting processes takes long."""
    some = free.with_only_columns(JobRecord.operation_id).order_by(None).limit(most * PARTS).subquery()
    left = session.scalar(select(func.count()).select_from(some)) or 0
    return max(1, left // PARTS, most // PARTS)
