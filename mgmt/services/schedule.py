"""Schedules: commands that run at certain times on this machine."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mgmt.catalog import ANY, Catalog, OperationRecord, ScheduleRecord, Status, Wanted, host_queue, this_host
from mgmt.catalog.records.process import current_user
from mgmt.errors import ConfigurationError, MgmtError, NotFoundError, PartialError, RefusedError
from mgmt.services.steps.due import RequestOf, due_time, run_time
from mgmt.services.steps.times import Due, local_zone, next_times
from mgmt.words import shell_word

SHOWN = 5
"""How many of the next times `show` lists."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""What can be the name of a schedule: it is part of the name of a systemd unit and a word of a crontab."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A schedule, its next times, and what became of the last one."""

    type: str = "schedule"
    name: str
    status: str
    """active, paused, or why it cannot run on this machine."""
    cron: str
    timezone: str
    command: list[str]
    host: str
    folder: str
    queue: str | None
    store: str | None
    user: str | None
    created_at: datetime
    last_time: datetime | None
    last_operation_id: str | None
    last_status: str | None
    last_message: str | None
    unfinished: list[str]
    """Its operations that wait or run."""
    next_times: list[datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schedule is to be: when its command runs, where, and with which store."""

    name: str
    cron: str
    timezone: str | None
    """By default, that of this machine."""
    command: Sequence[str]
    queue: str | None = None
    store: str | None = None


def add(plan: Plan, catalog: Catalog) -> ScheduleRecord:
    """Record a schedule of this machine, in the current folder. It runs at the times after now.

    Raises ConfigurationError for a name, times or a time zone that cannot be, and ConflictError if the name is taken.
    """
    if not _NAME.fullmatch(plan.name) or plan.name == "worker":  # mgmt-worker.service is the worker's unit
        raise ConfigurationError(
            f"{plan.name!r} cannot be the name of a schedule: use up to 100 letters, digits, '-', '_' and '.', and not "
            "'worker'",
            next_step='mgmt schedule add nightly "0 2 * * *" -- upload PATH',
        )
    timezone = plan.timezone or local_zone()
    next_times(plan.cron, timezone, datetime.now(UTC), 1)
    schedule = ScheduleRecord(
        name=plan.name,
        cron=" ".join(plan.cron.split()),
        timezone=timezone,
        command=list(plan.command),
        host=this_host(),
        cwd=os.getcwd(),
        queue=plan.queue,
        store=plan.store,
        user=current_user(),
    )
    catalog.schedules.add(schedule)
    return schedule


def shown(schedule: ScheduleRecord, catalog: Catalog, count: int = SHOWN) -> Shown:
    """What there is to know about `schedule`, with its next `count` times."""
    try:
        times = next_times(schedule.cron, schedule.timezone, datetime.now(UTC), count)
        status = "paused" if schedule.paused else "active"
    except ConfigurationError as error:
        times, status = [], error.message
    last = _operation(schedule.last_operation_id, catalog)
    return Shown(
        name=schedule.name,
        status=status,
        cron=schedule.cron,
        timezone=schedule.timezone,
        command=list(schedule.command),
        host=schedule.host,
        folder=schedule.cwd,
        queue=schedule.queue,
        store=schedule.store,
        user=schedule.user,
        created_at=schedule.created_at,
        last_time=schedule.last_time,
        last_operation_id=schedule.last_operation_id,
        last_status=last.status if last is not None else None,
        last_message=last.error_message if last is not None else None,
        unfinished=catalog.schedules.unfinished(schedule.name),
        next_times=[] if schedule.paused else times,
    )


def own(name: str, catalog: Catalog) -> ScheduleRecord:
    """The schedule called `name`. Raises NotFoundError, and RefusedError if it belongs to another machine."""
    schedule = catalog.schedules.get(name)
    if schedule.host != this_host():
        raise RefusedError(
            f"schedule {name} belongs to {schedule.host}, and this is {this_host()}",
            next_step=f"mgmt schedule show {name}",
        )
    return schedule


def take(name: str, catalog: Catalog, request_of: RequestOf, tell: Callable[[str], None], *, now: bool) -> str | None:
    """Request the command of the schedule for the time that is due; return the id of its operation.

    None if there is nothing to request: no time has come that was not run yet, or the schedule is paused. With `now` it
    is requested all the same, unless the last run has not ended. What is to be known goes to `tell`. Raises
    NotFoundError, RefusedError if the schedule belongs to another machine, and ConfigurationError for its times.
    """
    schedule = own(name, catalog)
    clock = datetime.now(UTC)
    time = due_time(schedule, clock)
    left = catalog.schedules.unfinished(name)
    if now and left:
        tell(f"schedule {name}: the last run has not ended; operation {left[0]} is left")
        return None
    if time is None and now:
        time = Due(clock, 0)
        if schedule.paused:
            tell(f"schedule {name} is paused; it runs this once")
    if time is None:
        tell(_nothing_due(schedule))
        return None
    ran = run_time(schedule, time, request_of, catalog)
    if ran is None:
        tell(f"schedule {name}: another process has just run it")
        return None
    if ran.note is not None:
        tell(f"schedule {name}: {ran.note}")
    return ran.operation.operation_id


def work_of(schedule: ScheduleRecord) -> Wanted:
    """What a worker serves that runs nothing but this schedule."""
    queues = dict.fromkeys([schedule.queue or ANY, ANY, host_queue(this_host())])
    return Wanted(list(queues), schedule=schedule.name)


def raise_outcome(operation_id: str, catalog: Catalog) -> None:
    """Raise the error that a scheduled operation has ended with; if it was tried again, that of its last attempt."""
    last = operation_id
    for each in _attempts(operation_id, catalog):
        last = each
    operation = _operation(last, catalog)
    if operation is None or operation.status in (Status.SUCCESS, Status.PENDING, Status.RUNNING):
        return
    if operation.status == Status.CANCELLED and str(operation.error_message).startswith("skipped"):
        return
    kind = PartialError if operation.status == Status.PARTIAL else MgmtError
    raise kind(
        f"{operation.operation_type} {last} ended as {operation.status}: {operation.error_message}",
        next_step=f"mgmt status {last}",
    )


def _attempts(operation_id: str, catalog: Catalog) -> Iterator[str]:
    following: str | None = operation_id
    while following is not None:
        following = catalog.schedules.attempt_after(following)
        if following is not None:
            yield following


def _operation(operation_id: str | None, catalog: Catalog) -> OperationRecord | None:
    """The operation; None if there is none, or it has been pruned."""
    if operation_id is None:
        return None
    try:
        return catalog.metadata.require_operation(operation_id)
    except NotFoundError:
        return None


def _nothing_due(schedule: ScheduleRecord) -> str:
    if schedule.paused:
        return f"schedule {schedule.name} is paused: nothing is run; mgmt schedule resume {shell_word(schedule.name)}"
    last = schedule.last_time
    ran = f"; the last, {last.astimezone().isoformat(' ', 'minutes')}, was run or skipped" if last is not None else ""
    return f"schedule {schedule.name}: none of its times is due{ran}; mgmt schedule run --now {schedule.name} runs it"
