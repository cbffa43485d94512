"""Which jobs a worker may run: their time has come, and what they wait for has succeeded.

The clock of the database decides, which all machines share: their own may differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select

from mgmt.catalog.db.conditions import clock
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.jobs import DependencyRecord, JobRecord
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.process import this_host

ANY = "any"
"""The queue of operations that any machine can run."""


def host_queue(host: str) -> str:
    """The queue of operations that only `host` can run."""
    return f"host.{host}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker serves: the names of queues, on its own machine, and how many operations a store may have.

    With `schedule`, only what that one has requested.
    """

    queues: Sequence[str]
    per_store: int | None = None
    schedule: str | None = None


def free_jobs(wanted: Wanted) -> Select[JobRecord]:
    """The first job that nobody has taken and that may run now."""
    return (
        select(JobRecord)
        .join(operations, operations.c.operation_id == JobRecord.operation_id)
        .where(_may_run(wanted), JobRecord.taken_by.is_(None), operations.c.status == Status.PENDING)
        .where(or_(JobRecord.not_before.is_(None), JobRecord.not_before <= clock()))
        .order_by(operations.c.seq)
    )


def jobs_left(wanted: Wanted) -> Select[str | None, str | None]:
    """Who has taken and who runs the jobs that may run now, or at their next attempt."""
    return (
        select(JobRecord.taken_by, operations.c.owner)
        .join(operations, operations.c.operation_id == JobRecord.operation_id)
        .where(_may_run(wanted), operations.c.status.in_(LIVE))
        .where(or_(JobRecord.not_before.is_(None), JobRecord.not_before <= clock(), JobRecord.attempt > 1))
    )


def begun_jobs(wanted: Wanted) -> Select[str, str, str | None, str | None, str | None]:
    """Jobs that somebody has taken or begun, of which batch, and by whom."""
    return (
        select(
            JobRecord.operation_id, JobRecord.command, operations.c.parent_id, JobRecord.taken_by, operations.c.owner
        )
        .join(operations, operations.c.operation_id == JobRecord.operation_id)
        .where(served_by(wanted), operations.c.status.in_(LIVE))
        .where(or_(JobRecord.not_before.is_(None), JobRecord.not_before <= clock()))
        .where(or_(JobRecord.taken_by.is_not(None), operations.c.status == Status.RUNNING))
        .order_by(operations.c.seq)
    )


def _may_run(wanted: Wanted) -> ColumnElement[bool]:
    """What a job waits for has succeeded, and its store has a place."""
    before = operations.alias()
    unmet = (
        exists()
        .where(DependencyRecord.operation_id == JobRecord.operation_id)
        .where(before.c.operation_id == DependencyRecord.after_id, before.c.status != Status.SUCCESS)
    )
    conditions = [served_by(wanted), ~unmet]
    if wanted.per_store is not None:
        other = JobRecord.__table__.alias()
        same = select(func.count()).where(other.c.taken_by.is_not(None), other.c.store == JobRecord.store)
        taken = same.where(other.c.operation_id != JobRecord.operation_id).scalar_subquery()
        conditions.append(or_(JobRecord.store.is_(None), taken < wanted.per_store))
    return and_(*conditions)


def served_by(wanted: Wanted) -> ColumnElement[bool]:
    """The condition on jobs that a worker on this machine serves."""
    return and_(
        JobRecord.queue.in_(wanted.queues),
        or_(JobRecord.host.is_(None), JobRecord.host == this_host()),
        ~JobRecord.fanned_out,
        ~JobRecord.held,
        *([JobRecord.schedule == wanted.schedule] if wanted.schedule is not None else []),
    )
