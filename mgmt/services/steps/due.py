"""Run a schedule whose time has come: each of its times once, whoever finds it due."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from mgmt.catalog import BatchRecord, Catalog, OperationRecord, ScheduleRecord, Status
from mgmt.errors import CatalogError, MgmtError
from mgmt.services.steps.request_arguments import FOLDER, NAMES, SCHEDULE
from mgmt.services.steps.requests import Request, enqueue, operation_of
from mgmt.services.steps.times import Due, due

RequestOf = Callable[[ScheduleRecord], Request]
"""Makes the request of the command of a schedule. Raises MgmtError if the command can no longer be requested."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a time of a schedule: the operation that was requested, or that says why none was."""

    operation: OperationRecord
    due: Due

    @property
    def note(self) -> str | None:
        """What the user should know about it; None if everything is as it should be."""
        if self.operation.status.is_terminal:
            return str(self.operation.error_message)
        if self.due.missed:
            return f"{self.due.missed} earlier times were missed; it runs once for all of them"
        return None


def due_time(schedule: ScheduleRecord, now: datetime) -> Due | None:
    """The time of `schedule` that is to be run; None if there is none, or the schedule is paused.

    Raises ConfigurationError if its times cannot be told on this machine.
    """
    if schedule.paused:
        return None
    return due(schedule.cron, schedule.timezone, schedule.last_time or schedule.created_at, now)


def run_time(schedule: ScheduleRecord, time: Due, request_of: RequestOf, catalog: Catalog) -> Ran | None:
    """Request the command of `schedule` for the time that is due; None if another process has taken that time.

    It is requested in the transaction that records the time as run. If the last run of the schedule has not ended, the
    time is skipped: a cancelled operation says so. If the command cannot be requested, a failed one says why.
    """
    try:
        request, reason = request_of(schedule), None
    except CatalogError:
        raise
    except MgmtError as error:
        request, reason = None, error.message
    with suppress(_TakenError), catalog.transaction():
        operation = _operation(schedule, time, request, reason, catalog)
        _take(schedule, time, operation, catalog)
        return Ran(operation, time)
    return None


def _take(schedule: ScheduleRecord, time: Due, operation: OperationRecord, catalog: Catalog) -> None:
    if not catalog.schedules.take_time(schedule, time.time, operation.operation_id):
        raise _TakenError


class _TakenError(Exception):
    """Another process has taken the time: nothing is requested."""


def _operation(
    schedule: ScheduleRecord, time: Due, request: Request | None, reason: str | None, catalog: Catalog
) -> OperationRecord:
    facts = {"name": schedule.name, "time": time.time.isoformat(), "missed": time.missed}
    if request is None:
        name = f"{schedule.command[0] if schedule.command else 'nothing'} of schedule {schedule.name}"
        arguments = {NAMES: [], FOLDER: schedule.cwd, SCHEDULE: facts}
        failed = BatchRecord(target_path=name, target_name=name, user=schedule.user, command_args=arguments)
        catalog.schedules.record_end(failed, Status.FAILED, str(reason), schedule)
        return failed
    request = replace(
        request,
        arguments={**request.arguments, SCHEDULE: facts},
        folder=schedule.cwd,
        schedule=schedule.name,
    )
    if unfinished := catalog.schedules.unfinished(schedule.name):
        skipped = operation_of(request)
        skipped.user = schedule.user
        message = f"skipped: the last run of schedule {schedule.name} has not ended; operation {unfinished[0]} is left"
        catalog.schedules.record_end(skipped, Status.CANCELLED, message, schedule)
        return skipped
    return enqueue(request, catalog)[0]
