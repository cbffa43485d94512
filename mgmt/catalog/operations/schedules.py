"""Schedules: which command runs when, and which of its times have been run.

That a time has been run, or skipped, is recorded by comparing and swapping `last_time`: of several processes that find
a schedule due, one gets to run it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

import mgmt
from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.ending import end_unrun
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.jobs import JobRecord, ScheduleRecord
from mgmt.catalog.records.operations import OperationRecord, operations
from mgmt.catalog.records.process import this_host
from mgmt.errors import ConflictError, NotFoundError


class Schedules:
    """The schedules of all machines. Every change is part of the caller's transaction, if there is one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, schedule: ScheduleRecord) -> None:
        """Record a new schedule. Raises ConflictError if the name is taken."""
        with self._database.transaction() as session:
            if session.get(ScheduleRecord, schedule.name, populate_existing=True) is not None:
                raise ConflictError(
                    f"there is a schedule {schedule.name} already", next_step=f"mgmt schedule rm {schedule.name}"
                )
            session.add(schedule)
            session.flush()

    def get(self, name: str) -> ScheduleRecord:
        """The schedule called `name`. Raises NotFoundError."""
        with self._database.reading() as session:
            found = session.get(ScheduleRecord, name, populate_existing=True)
        if found is None:
            raise NotFoundError(f"there is no schedule {name}", next_step="mgmt schedule ls")
        return found

    def all(self, host: str | None = None) -> Sequence[ScheduleRecord]:
        """All schedules by name, or those of `host`."""
        query = select(ScheduleRecord).order_by(ScheduleRecord.name).execution_options(populate_existing=True)
        with self._database.reading() as session:
            return session.scalars(query if host is None else query.where(ScheduleRecord.host == host)).all()

    def remove(self, name: str) -> None:
        """Forget a schedule; what it has requested stays. Raises NotFoundError."""
        with self._database.transaction() as session:
            removed: Any = session.execute(
                delete(ScheduleRecord).where(ScheduleRecord.name == name).execution_options(synchronize_session="fetch")
            )
            if not removed.rowcount:
                raise NotFoundError(f"there is no schedule {name}", next_step="mgmt schedule ls")

    def pause(self, name: str) -> ScheduleRecord:
        """Let none of its times run until it is resumed. Raises NotFoundError; twice is as good as once."""
        with self._database.transaction():
            schedule = self.get(name)
            schedule.paused = True
            return schedule

    def resume(self, name: str, since: datetime) -> ScheduleRecord:
        """Let its times after `since` run; those of the pause are skipped. Nothing happens if it is not paused.

        Raises NotFoundError.
        """
        with self._database.transaction():
            schedule = self.get(name)
            if schedule.paused:
                schedule.paused, schedule.last_time = False, since
            return schedule

    def take_time(self, schedule: ScheduleRecord, time: datetime, operation_id: str) -> bool:
        """Record that the operation `operation_id` runs `schedule` at `time`, or says why that was skipped.

        False if another process has taken a time since `schedule` was read, or it was paused or removed: the caller
        must then roll back.
        """
        with self._database.transaction() as session:
            swapped: Any = session.execute(
                update(ScheduleRecord)
                .where(ScheduleRecord.name == schedule.name, ScheduleRecord.created_at == schedule.created_at)
                .where(ScheduleRecord.last_time.is_not_distinct_from(schedule.last_time))
                .where(ScheduleRecord.paused == schedule.paused)
                .values(last_time=time, last_operation_id=operation_id)
                .execution_options(synchronize_session=False)
            )
            return bool(swapped.rowcount)

    def unfinished(self, name: str) -> list[str]:
        """The operations of a schedule that wait or run, in the order in which they were requested."""
        query = select(JobRecord.operation_id).where(JobRecord.schedule == name).order_by(JobRecord.requested_at)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def attempt_after(self, operation_id: str) -> str | None:
        """The operation that tries `operation_id` again, if any."""
        query = select(operations.c.operation_id).where(operations.c.retry_of == operation_id)
        with self._database.reading() as session:
            return session.scalar(query.order_by(operations.c.seq.desc()).limit(1))

    def record_end(self, operation: OperationRecord, status: Status, message: str, schedule: ScheduleRecord) -> None:
        """Record `operation` of `schedule`, which did not run, as ended. Notifications are as for any other end."""
        with self._database.transaction() as session:
            operation.status, operation.mgmt_version, operation.host = Status.PENDING, mgmt.__version__, this_host()
            session.add(operation)
            session.flush()
            job = JobRecord(
                operation_id=operation.operation_id,
                command=schedule.command[0] if schedule.command else "",
                queue=schedule.queue or "",
                host=schedule.host,
                held=True,
                schedule=schedule.name,
            )
            session.add(job)
            session.flush()
            end_unrun(session, operation.operation_id, status, message)
