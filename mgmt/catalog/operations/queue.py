"""The queue: requested operations, which worker takes which, and what the end of an operation means for others.

An operation that is requested is `pending`, and has a job until it ends. Whether it may run is a question to the
catalog alone: its time has come, everything it waits for has succeeded, and no live worker has taken it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

import mgmt
from mgmt.catalog.db.conditions import starting
from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.due import Wanted, free_jobs
from mgmt.catalog.operations.ending import (
    dependants,
    end_batch,
    end_unrun,
    remove_job,
    statuses_of_children,
)
from mgmt.catalog.operations.ownership import is_dead, may_be_alive
from mgmt.catalog.operations.taking import Jobs
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.jobs import DependencyRecord, JobRecord
from mgmt.catalog.records.operations import OperationRecord, operations
from mgmt.catalog.records.process import Owner, current_user, this_host
from mgmt.errors import MgmtError, NotFoundError, RefusedError


class NewJob(NamedTuple):
    """An operation to request, its job, and the operations that it waits for."""

    operation: OperationRecord
    job: JobRecord
    after: Sequence[str] = ()


class Queue:
    """Requested operations. Every change is part of the caller's transaction, if there is one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, requested: Sequence[NewJob]) -> None:
        """Record operations as pending, each with its job and what that waits for: all of them, or none.

        Raises NotFoundError if one waits for an operation that does not exist, and RefusedError if for one that has
        ended without success.
        """
        own = {each.operation.operation_id for each in requested}
        with self._database.transaction() as session:
            others = {after for each in requested for after in each.after if after not in own}
            to_come = own | set(self._to_come(session, sorted(others)))
            for each in requested:
                each.operation.status, each.operation.mgmt_version = Status.PENDING, mgmt.__version__
                each.operation.host = each.operation.host or this_host()
                each.operation.user = each.operation.user or current_user()
                each.job.operation_id = each.operation.operation_id
            session.add_all(each.operation for each in requested)
            session.flush()
            session.add_all(each.job for each in requested)
            session.flush()
            session.add_all(
                DependencyRecord(operation_id=each.job.operation_id, after_id=after)
                for each in requested
                for after in dict.fromkeys(each.after)
                if after in to_come
            )

    def begun_fan_out(self, operation_id: str) -> set[tuple[str, ...]]:
        """The targets of a batch that have operations already, by names and members: its fan-out was interrupted."""
        with self._database.reading() as session:
            query = select(operations.c.command_args).where(operations.c.parent_id == operation_id)
            return {target_of(arguments) for arguments in session.scalars(query)}

    def batch_to_fan_out(self, operation_id: str) -> JobRecord:
        """The job of a batch, which does not end before the caller's transaction does.

        Raises RefusedError if it has ended, as one does that is cancelled, or if it has fanned out.
        """
        with self._database.transaction() as session:
            session.execute(select(operations.c.seq).where(_is(operation_id)).with_for_update()).all()
            if (job := session.get(JobRecord, operation_id, populate_existing=True)) is None:
                raise RefusedError(f"batch {operation_id} has ended", next_step=f"mgmt status {operation_id}")
            if job.fanned_out:
                raise RefusedError(f"batch {operation_id} has fanned out already", next_step="mgmt queue")
            return job

    def note_fanned_out(self, operation_id: str) -> None:
        """All targets of a batch have become operations, which may run now; without any, the batch has succeeded.

        Raises RefusedError if it has ended, or has fanned out already.
        """
        with self._database.transaction() as session:
            job = self.batch_to_fan_out(operation_id)
            job.fanned_out, job.taken_by = True, None
            session.flush()
            parts = select(operations.c.operation_id).where(operations.c.parent_id == operation_id)
            session.execute(
                update(JobRecord)
                .where(JobRecord.operation_id.in_(parts))
                .values(held=False)
                .execution_options(synchronize_session=False)
            )
            end_batch(session, operation_id)

    def end_requested(self, operation_id: str, error: MgmtError | None, *, taken_by: str | None = None) -> None:
        """The command of a requested operation has ended without beginning it: it found nothing to do, or an error.

        What may succeed later is tried again while there are attempts. Nothing happens if it is no more `taken_by` the
        process, or its worker, that this one is: another one runs it.
        """
        with self._database.transaction() as session:
            operation = session.get(OperationRecord, operation_id, populate_existing=True)
            job = session.get(JobRecord, operation_id, populate_existing=True)
            if operation is None or operation.status != Status.PENDING or job is None or job.fanned_out:
                return
            if taken_by is not None and job.taken_by != taken_by:
                return
            if error is not None and error.retryable:
                Jobs(self._database).give_back(operation_id, error.message, counts=True)
            elif error is not None:
                end_unrun(session, operation_id, Status.FAILED, error.message)
            else:
                end_unrun(session, operation_id, Status.SUCCESS, "")

    def cancel(self, operation_id: str) -> list[str]:
        """Cancel a live operation and all that belong to it: at once what waits; what runs is asked to stop.

        Returns the interrupted ones, whose process has died: they are in no queue any more, what waits for them is
        cancelled, and `mgmt recover` finishes or undoes them.
        """
        by, interrupted = current_user(), []
        with self._database.transaction() as session:
            live = select(operations.c.operation_id).where(operations.c.status.in_(LIVE)).order_by(operations.c.seq)
            part = operations.c.parent_id == operation_id
            # The parts before their batch, as their ends do; then those that it has been fanned out to meanwhile.
            for some in (part, _is(operation_id)):
                session.execute(live.where(some).with_for_update()).all()
            for each in session.scalars(live.where(or_(part, _is(operation_id)))).all():
                operation = session.get(OperationRecord, each, populate_existing=True)
                if operation is None or operation.status not in LIVE:
                    continue  # it has ended with another one
                if operation.status == Status.RUNNING and is_dead(operation.owner):
                    remove_job(session, each)
                    for dependant in dependants(session, each):
                        why = f"cancelled: {operation.operation_type} {each} was interrupted, and cancelled by {by}"
                        end_unrun(session, dependant, Status.CANCELLED, why)
                    interrupted.append(each)
                    continue
                operation.cancel_requested_by = by
                session.flush()
                if operation.status == Status.PENDING:
                    end_unrun(session, each, Status.CANCELLED, f"cancelled by {by}")
        return interrupted

    def waiting(self, wanted: Wanted) -> list[JobRecord]:
        """The jobs that may run now and that nobody has taken, in the order in which they will be."""
        with self._database.reading() as session:
            return list(session.scalars(free_jobs(wanted)))

    def release(self, operation_ids: Sequence[str]) -> int:
        """Let held jobs run; all of them if none are named. Returns how many there were."""
        with self._database.transaction() as session:
            change = update(JobRecord).where(JobRecord.held)
            if operation_ids:
                change = change.where(JobRecord.operation_id.in_(operation_ids))
            released: Any = session.execute(change.values(held=False))
            return int(released.rowcount)

    def taken_on(self, host: str) -> list[OperationRecord]:
        """Operations that workers of `host` have taken: what any machine can run, and what has not begun.

        Not those whose process is alive as seen from here, as `host` may be the name of a container on this machine.
        """
        from mgmt.catalog.records.operation_types import AnyOperation

        of_host = and_(JobRecord.host == host, AnyOperation.status == Status.PENDING)
        taken_there, run_there = (starting(each, f"{host}/") for each in (JobRecord.taken_by, AnyOperation.owner))
        with self._database.reading() as session:
            query = (
                select(AnyOperation, JobRecord.taken_by)
                .join(JobRecord, JobRecord.operation_id == AnyOperation.operation_id)
                .where(or_(JobRecord.host.is_(None), of_host), ~JobRecord.fanned_out, AnyOperation.status.in_(LIVE))
                .where(or_(taken_there, JobRecord.taken_by.is_(None)), or_(run_there, AnyOperation.owner.is_(None)))
                .where(or_(taken_there, run_there))
                .order_by(AnyOperation.seq)
                .execution_options(populate_existing=True)
            )
            found = session.execute(query).all()
            return [each for each, taken_by in found if not (_is_seen(taken_by) or may_be_alive(each))]

    def release_from(self, host: str) -> list[OperationRecord]:
        """Let workers run again what those of `host`, which is known to be down, have taken; returns that."""
        with self._database.transaction() as session:
            released = self.taken_on(host)
            for operation in released:
                job = session.get(JobRecord, operation.operation_id, populate_existing=True)
                if job is not None:
                    job.taken_by = None
                operation.claim = operation.owner = operation.heard_at = None
                operation.status = Status.PENDING
            return released

    def jobs(self) -> list[tuple[JobRecord, OperationRecord]]:
        """Every job with its operation, in the order in which they were requested."""
        from mgmt.catalog.records.operation_types import AnyOperation

        with self._database.reading() as session:
            query = (
                select(JobRecord, AnyOperation)
                .join(AnyOperation, AnyOperation.operation_id == JobRecord.operation_id)
                .order_by(AnyOperation.seq)
                .execution_options(populate_existing=True)
            )
            return [(job, operation) for job, operation in session.execute(query)]

    def waits_for(self, operation_ids: Sequence[str]) -> dict[str, list[str]]:
        """The operations that each of these waits for, in the order in which they were requested."""
        found: dict[str, list[str]] = {}
        with self._database.reading() as session:
            query = (
                select(DependencyRecord.operation_id, DependencyRecord.after_id)
                .join(operations, operations.c.operation_id == DependencyRecord.after_id)
                .where(operations.c.status.in_(LIVE), DependencyRecord.operation_id.in_(operation_ids))
                .order_by(operations.c.seq)
            )
            for operation_id, after_id in session.execute(query):
                found.setdefault(operation_id, []).append(after_id)
        return found

    def children(self, operation_id: str) -> dict[Status, int]:
        """How many operations of a batch have each status. One that was tried again counts as its last attempt."""
        with self._database.reading() as session:
            return statuses_of_children(session, operation_id)

    def _to_come(self, session: Session, after: Sequence[str]) -> list[str]:
        """Those of `after` that have not ended, and do not before the commit. Raises NotFoundError and RefusedError."""
        named = operations.c.operation_id.in_(after)
        if after:  # one that fails meanwhile would not cancel what it does not see
            session.execute(
                select(operations.c.operation_id).where(named).order_by(operations.c.seq).with_for_update(read=True)
            ).all()
        query = select(operations.c.operation_id, operations.c.status).where(named)
        found = {operation_id: Status(status) for operation_id, status in session.execute(query)}
        for each in after:
            if each not in found:
                raise NotFoundError(f"there is no operation {each}", next_step="mgmt log")
            if found[each].is_terminal and found[each] is not Status.SUCCESS:
                raise RefusedError(
                    f"operation {each} has ended as {found[each]}: nothing can follow it",
                    next_step=f"mgmt retry {each}",
                )
        return [each for each in after if found[each] is not Status.SUCCESS]


def target_of(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What the operation with these arguments works on."""
    return (*arguments.get("names", ()), "", *arguments.get("members", ()))


def _is(operation_id: str) -> ColumnElement[bool]:
    return operations.c.operation_id == operation_id


def _is_seen(owner: str | None) -> bool:
    """Whether the process is alive, or exists on this host but cannot be examined."""
    return owner is not None and Owner.parse(owner).may_be_alive()
