"""What the end of an operation means for its job, for those that wait for it, and for the batch that contains it.

All of it is part of the transaction that ends the operation.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, inspect, select, update
from sqlalchemy.orm import Session

import mgmt
from mgmt.catalog.db.conditions import clock
from mgmt.catalog.operations.job_table import concerns_queue
from mgmt.catalog.operations.sources import end_sources
from mgmt.catalog.records.base import now
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.jobs import DependencyRecord, JobRecord
from mgmt.catalog.records.maintenance import BatchRecord
from mgmt.catalog.records.operations import UPLOAD, OperationRecord, operations

_REQUESTED = (
    "target_path",
    "target_name",
    "user",
    "host",
    "parent_id",
    "store",
    "s3_storage_class",
    "member",
    "undo_of",
)
"""What an operation and the one that repeats it have in common, besides its arguments."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of an operation: what each function in `Database.at_end` is called with, within its transaction."""

    operation: OperationRecord
    kind: str
    """Its type; that of its operations if it is a batch."""
    schedule: str | None = None
    """The schedule that requested it."""
    is_followed: bool = False
    """Another attempt follows."""


def note_end(session: Session, operation: OperationRecord, *, retryable: bool) -> None:
    """`operation` has just ended in this transaction. If `retryable`, another attempt is made while there are any."""
    session.flush()
    ended = deque([operation])
    while ended:
        each = ended.popleft()
        job, following = None, None
        if concerns_queue(session, each.operation_id, each.parent_id):
            job = session.get(JobRecord, each.operation_id, populate_existing=True)
            following, further = _consequences(session, each, job, retryable=retryable and each is operation)
            ended += further
            session.flush()
        if told := session.info.get("at_end", ()):
            schedule = job.schedule if job is not None else None
            end = End(each, _kind(session, each, job), schedule, following is not None)
            for tell in told:
                tell(session, end)


def end_unrun(session: Session, operation_id: str, status: Status, message: str) -> None:
    """End an operation that is requested and does not run, within this transaction."""
    _lock_parts(session, operation_id)
    if (operation := _ended(session, operation_id, status, message)) is not None:
        note_end(session, operation, retryable=False)


def end_batch(session: Session, operation_id: str) -> None:
    """End a batch that has fanned out, within this transaction, if none of its operations is left."""
    if (operation := _ended_batch(session, operation_id)) is not None:
        note_end(session, operation, retryable=False)


def backoff(job: JobRecord) -> timedelta:
    """How long to wait after the current attempt: a day at most, whatever the catalog says."""
    seconds = max(0, job.backoff_seconds) * 2 ** max(0, min(job.attempt - 1, 16))
    return timedelta(seconds=min(seconds, 24 * 60 * 60))


def next_time(session: Session, job: JobRecord) -> datetime:
    """When the attempt after the current one may begin, by the clock of the database."""
    return session.execute(select(clock())).scalar_one() + backoff(job)


def statuses_of_children(session: Session, operation_id: str) -> dict[Status, int]:
    """How many operations of the batch `operation_id` have each status, without those that were tried again."""
    again = operations.alias()
    query = (
        select(operations.c.status, func.count())
        .where(operations.c.parent_id == operation_id)
        .where(~exists().where(again.c.retry_of == operations.c.operation_id, again.c.parent_id == operation_id))
        .group_by(operations.c.status)
    )
    return {Status(status): count for status, count in session.execute(query)}


def remove_job(session: Session, operation_id: str) -> None:
    """Forget the job of an operation that ends."""
    for table in (DependencyRecord, JobRecord):
        session.execute(
            delete(table).where(table.operation_id == operation_id).execution_options(synchronize_session="fetch")
        )


def dependants(session: Session, operation_id: str) -> Iterator[str]:
    """The operations that wait for `operation_id`."""
    yield from session.scalars(
        select(DependencyRecord.operation_id).where(DependencyRecord.after_id == operation_id)
    ).all()


def _kind(session: Session, operation: OperationRecord, job: JobRecord | None) -> str:
    if not isinstance(operation, BatchRecord):
        return operation.operation_type
    parts = select(operations.c.operation_type).where(operations.c.parent_id == operation.operation_id)
    return session.scalar(parts.limit(1)) or (job.command if job is not None else operation.operation_type)


def _consequences(
    session: Session, operation: OperationRecord, job: JobRecord | None, *, retryable: bool
) -> tuple[OperationRecord | None, list[OperationRecord]]:
    """The next attempt of `operation`, if there is one, and what else ends with it."""
    found: list[OperationRecord | None] = []
    following: OperationRecord | None = None
    again = retryable and operation.status == Status.FAILED and operation.cancel_requested_by is None
    if job is not None and again and job.attempt < job.attempts:
        following = _next_attempt(session, operation, job)
    if operation.status != Status.SUCCESS:
        reason = f"cancelled: {operation.operation_type} {operation.operation_id} ended as {operation.status}"
        if following is not None:
            wait_for(session, operation.operation_id, following.operation_id)
        else:
            parts = _lock_parts(session, operation.operation_id) if job is not None and not job.fanned_out else []
            for each in (*dependants(session, operation.operation_id), *parts):
                found.append(_ended(session, each, Status.CANCELLED, reason))
    if job is not None:
        remove_job(session, operation.operation_id)
    if operation.parent_id is not None and following is None:
        found.append(_ended_batch(session, operation.parent_id))
    return following, [each for each in found if each is not None]


def _lock_parts(session: Session, operation_id: str) -> Sequence[str]:
    """The operations of the batch `operation_id` that have not begun, and do not before the commit.

    Whoever ends them with their batch locks them first, as `cancel` does.
    """
    parts = operations.c.parent_id == operation_id, operations.c.status == Status.PENDING
    query = select(operations.c.operation_id).where(*parts).order_by(operations.c.seq)
    return session.scalars(query.with_for_update()).all()


def _ended(session: Session, operation_id: str, status: Status, message: str) -> OperationRecord | None:
    """The operation, with this end; None if it has ended already."""
    operation = session.get(OperationRecord, operation_id, populate_existing=True, with_for_update={"of": operations})
    if operation is None or operation.status.is_terminal:
        return None
    operation.status, operation.completed_at, operation.error_message = status, now(), message or None
    if operation.operation_type == UPLOAD:
        end_sources(session, operation)
    session.flush()
    return operation


def repeated(operation: OperationRecord) -> OperationRecord:
    """A new operation that does the work of `operation` again, with its recorded arguments."""
    facts = {
        name: getattr(operation, name)
        for name in _REQUESTED
        if name in inspect(type(operation)).column_attrs and getattr(operation, name) is not None
    }
    return type(operation)(**facts, command_args=dict(operation.command_args), retry_of=operation.operation_id)


def _next_attempt(session: Session, operation: OperationRecord, job: JobRecord) -> OperationRecord:
    again = repeated(operation)
    again.status, again.mgmt_version = Status.PENDING, mgmt.__version__
    session.add(again)
    session.flush()
    session.add(
        JobRecord(
            operation_id=again.operation_id,
            command=job.command,
            queue=job.queue,
            host=job.host,
            store=job.store,
            not_before=next_time(session, job),
            attempt=job.attempt + 1,
            attempts=job.attempts,
            backoff_seconds=job.backoff_seconds,
            template=job.template,
            schedule=job.schedule,
        )
    )
    session.flush()
    return again


def wait_for(session: Session, before: str, following: str) -> None:
    """Let what waits for `before` wait for the `following` attempt.

    All that is to work on its result, and waits for it directly or not, works on that of the attempt.
    """
    waiting = deque(dependants(session, before))
    seen: set[str] = set()
    session.execute(
        update(DependencyRecord)
        .where(DependencyRecord.after_id == before)
        .values(after_id=following)
        .execution_options(synchronize_session=False)
    )
    while waiting:
        if (dependant := waiting.popleft()) in seen:
            continue
        seen.add(dependant)
        waiting += dependants(session, dependant)
        operation = session.get(OperationRecord, dependant, populate_existing=True)
        if operation is None:
            continue
        for name in ("names", "after"):
            if before in (operation.command_args.get(name) or ()):
                meant = [following if each == before else each for each in operation.command_args[name]]
                operation.command_args = {**operation.command_args, name: meant}


def _ended_batch(session: Session, operation_id: str) -> OperationRecord | None:
    """The batch `operation_id`, ended, if it has fanned out and none of its operations is left."""
    query = select(JobRecord).where(JobRecord.operation_id == operation_id, JobRecord.fanned_out)
    # Two that end at the same time must not each take the other for running.
    if session.scalar(query.with_for_update().execution_options(populate_existing=True)) is None:
        return None
    live = select(operations.c.seq).where(operations.c.parent_id == operation_id, operations.c.status.in_(LIVE))
    if session.scalar(live.limit(1)) is not None:  # each end asks, and to count them all takes long
        return None
    counts = statuses_of_children(session, operation_id)
    total, done = sum(counts.values()), counts.get(Status.SUCCESS, 0)
    undone = total - done
    status = Status.SUCCESS if not undone else Status.PARTIAL if done else Status.FAILED
    listed = ", ".join(f"{count} {each}" for each, count in sorted(counts.items()) if each != Status.SUCCESS)
    what = f"{undone} of {total} targets {'was' if undone == 1 else 'were'}" if total > 1 else "its only target was"
    return _ended(session, operation_id, status, f"{what} not done: {listed}" if undone else "")
