"""What is requested and has not ended, and requests to stop."""

from dataclasses import dataclass
from datetime import datetime

from mgmt.catalog import Catalog, JobRecord, OperationRecord, Status, this_host
from mgmt.catalog import move_from as moved_from
from mgmt.catalog.records.process import Liveness, Owner
from mgmt.errors import NotFoundError, RefusedError
from mgmt.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A requested operation, and why it is not finished."""

    type: str = "job"
    position: int | None
    """Its place among those of its queue that nobody has taken; None if somebody has, or if it runs."""
    operation_id: str
    operation_type: str
    status: str
    """held, waiting, taken, running, stopping, or the number of operations of a batch that have ended."""
    target_path: str | None
    queue: str
    host: str | None
    not_before: datetime | None
    after: list[str]
    attempt: int
    attempts: int
    user: str | None
    runs_on: str | None
    done_bytes: int | None
    total_bytes: int | None
    bytes_per_second: int | None
    seconds_left: float | None
    requested_at: datetime
    schedule: str | None


def waiting(catalog: Catalog) -> list[Waiting]:
    """Every requested operation that has not ended, in the order in which they were requested."""
    jobs = catalog.queue.jobs()
    after = catalog.queue.waits_for([job.operation_id for job, _ in jobs])
    places: dict[str, int] = {}
    found: list[Waiting] = []
    for job, operation in jobs:
        taker = _taker(job) if operation.status == Status.PENDING else None
        waits = operation.status == Status.PENDING and taker is None and not job.fanned_out and not job.held
        if waits:
            places[job.queue] = places.get(job.queue, 0) + 1
        found.append(
            Waiting(
                position=places[job.queue] if waits else None,
                operation_id=job.operation_id,
                operation_type=operation.operation_type,
                status=_status(operation, job, catalog, is_taken=taker is not None),
                target_path=operation.target_path,
                queue=job.queue,
                host=job.host,
                not_before=job.not_before,
                after=after.get(job.operation_id, []),
                attempt=job.attempt,
                attempts=job.attempts,
                user=operation.user,
                runs_on=operation.runs_on if taker is None else f"{taker.host}, process {taker.pid}",
                done_bytes=operation.done_bytes,
                total_bytes=operation.total_bytes,
                bytes_per_second=operation.bytes_per_second,
                seconds_left=operation.seconds_left,
                requested_at=job.requested_at,
                schedule=job.schedule,
            )
        )
    return found


def move_from(host: str, catalog: Catalog) -> tuple[int, int]:
    """Let this machine run what waits for `host`, its former name; returns how many operations and schedules.

    Raises RefusedError if `host` is the name of this machine, and NotFoundError if nothing waits for it.
    """
    if host == this_host():
        raise RefusedError(f"this machine is {host}: nothing has to be moved", next_step="mgmt worker")
    operations, schedules = moved_from(catalog.database, host)
    if not operations and not schedules:
        raise NotFoundError(
            f"nothing waits for {host}", next_step=f"mgmt queue\n# what it has begun: mgmt recover --host {host}"
        )
    return len(operations), schedules


def cancel(operation_id: str, catalog: Catalog, progress: Progress) -> OperationRecord:
    """Cancel an operation: at once if it has not begun, otherwise at its next safe point. Returns its record.

    What an upload has sent stays in the store, for the next attempt. Of a batch, all operations are cancelled. Raises
    NotFoundError, and RefusedError if it has ended.
    """
    operation = catalog.metadata.require_operation(operation_id)
    if operation.status.is_terminal:
        instead = "undo" if operation.status in (Status.SUCCESS, Status.PARTIAL) else "retry"
        raise RefusedError(
            f"{operation.operation_type} {operation_id} has ended already, as {operation.status}",
            next_step=f"mgmt {instead} {operation_id}",
        )
    job = catalog.jobs.job(operation_id)
    interrupted = catalog.queue.cancel(operation_id)
    if operation_id in interrupted and job is None:
        raise RefusedError(
            f"{operation.operation_type} {operation_id} was interrupted: there is nothing to stop",
            next_step="mgmt recover",
        )
    if interrupted:
        progress.note(f"note: {len(interrupted)} were interrupted; mgmt recover finishes or undoes them")
    return catalog.metadata.require_operation(operation_id)


def _taker(job: JobRecord) -> Owner | None:
    """The process that has taken `job`; None if there is none, or it is known to be dead."""
    owner = None if job.taken_by is None else Owner.parse(job.taken_by)
    return None if owner is None or owner.liveness() is Liveness.DEAD else owner


def _status(operation: OperationRecord, job: JobRecord, catalog: Catalog, *, is_taken: bool) -> str:
    if job.fanned_out:
        counts = catalog.queue.children(operation.operation_id)
        left = sum(count for status, count in counts.items() if not status.is_terminal)
        total = sum(counts.values())
        return f"{total - left} of {total} done"
    if operation.status == Status.RUNNING:
        return "stopping" if operation.cancel_requested_by is not None else "running"
    return "held" if job.held else "taken" if is_taken else "waiting"
