"""Requests that only one machine can run, where none runs them: it is down, or has another name now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select, update

from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.due import host_queue
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.jobs import DependencyRecord, JobRecord, ScheduleRecord
from mgmt.catalog.records.operations import OperationRecord, operations
from mgmt.catalog.records.process import this_host


@dataclass(frozen=True, slots=True)
class Stranded:
    """Requests that another host could have run, and has not."""

    host: str
    count: int
    last_seen: datetime | None
    """When an operation last began, ended or had a heartbeat there; None if none is recorded."""


def stranded(database: Database, since: datetime) -> list[Stranded]:
    """The requests that other hosts could have run at `since`, by host, where nothing has run from then on."""
    before = operations.alias()
    unmet = (
        exists()
        .where(DependencyRecord.operation_id == JobRecord.operation_id)
        .where(before.c.operation_id == DependencyRecord.after_id, before.c.status != Status.SUCCESS)
    )
    waiting = (
        select(JobRecord.host, func.count())
        .join(operations, operations.c.operation_id == JobRecord.operation_id)
        .where(JobRecord.host != this_host(), JobRecord.taken_by.is_(None), operations.c.status == Status.PENDING)
        .where(~JobRecord.held, ~JobRecord.fanned_out, ~unmet)
        .where(func.coalesce(JobRecord.not_before, JobRecord.requested_at) < since)
        .group_by(JobRecord.host)
        .order_by(JobRecord.host)
    )
    times = (operations.c.started_at, operations.c.heard_at, operations.c.completed_at)
    with database.reading() as session:
        found = session.execute(waiting).all()
        ran = select(operations.c.host, *map(func.max, times)).group_by(operations.c.host)
        ran = ran.where(operations.c.host.in_([host for host, _ in found]), operations.c.owner.is_not(None))
        seen = {host: max(each for each in ends if each) for host, *ends in session.execute(ran)} if found else {}
    return [
        Stranded(str(host), count, seen.get(host))
        for host, count in found
        if seen.get(host) is None or seen[host] < since
    ]


def move_from(database: Database, host: str) -> tuple[Sequence[str], int]:
    """Let this machine run what waits for `host`, which has its files.

    Returns the ids of the operations, and the number of schedules. What a worker of `host` has taken stays.
    """
    here = this_host()
    with database.transaction() as session:
        query = (
            select(JobRecord)
            .join(operations, operations.c.operation_id == JobRecord.operation_id)
            .where(JobRecord.host == host, JobRecord.taken_by.is_(None), operations.c.status == Status.PENDING)
            .order_by(operations.c.seq)
        )
        jobs = session.scalars(query.with_for_update(of=JobRecord).execution_options(populate_existing=True)).all()
        for job in jobs:
            job.host = here
            job.queue = host_queue(here) if job.queue == host_queue(host) else job.queue
            operation = session.get(OperationRecord, job.operation_id, populate_existing=True)
            if operation is not None:
                operation.host = here
        schedules = session.scalars(select(ScheduleRecord).where(ScheduleRecord.host == host)).all()
        session.execute(update(ScheduleRecord).where(ScheduleRecord.host == host).values(host=here))
        return [job.operation_id for job in jobs], len(schedules)
