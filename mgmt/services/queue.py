"""What is requested and has not ended, and requests to stop."""

from dataclasses import dataclass
from datetime import datetime

from mgmt.catalog import Catalog, OperationRecord, Status
from mgmt.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A requested operation, and why it is not finished."""

    type: str = "job"
    position: int | None
    """Its place among those of its queue that nobody has taken; None if it runs."""
    operation_id: str
    operation_type: str
    status: str
    """held, waiting, running, or the number of operations of a batch that have ended."""
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
        waits = operation.status == Status.PENDING and not job.fanned_out and not job.held
        if waits:
            places[job.queue] = places.get(job.queue, 0) + 1
        found.append(
            Waiting(
                position=places[job.queue] if waits else None,
                operation_id=job.operation_id,
                operation_type=operation.operation_type,
                status=_status(operation, catalog, fanned_out=job.fanned_out, held=job.held),
                target_path=operation.target_path,
                queue=job.queue,
                host=job.host,
                not_before=job.not_before,
                after=after.get(job.operation_id, []),
                attempt=job.attempt,
                attempts=job.attempts,
                user=operation.user,
                runs_on=operation.runs_on,
                done_bytes=operation.done_bytes,
                total_bytes=operation.total_bytes,
                bytes_per_second=operation.bytes_per_second,
                seconds_left=operation.seconds_left,
                requested_at=job.requested_at,
                schedule=job.schedule,
            )
        )
    return found


def cancel(operation_id: str, catalog: Catalog) -> OperationRecord:
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
    catalog.queue.cancel(operation_id)
    return catalog.metadata.require_operation(operation_id)


def _status(operation: OperationRecord, catalog: Catalog, *, fanned_out: bool, held: bool) -> str:
    if fanned_out:
        counts = catalog.queue.children(operation.operation_id)
        left = sum(count for status, count in counts.items() if not status.is_terminal)
        total = sum(counts.values())
        return f"{total - left} of {total} done"
    if operation.status == Status.RUNNING:
        return "stopping" if operation.cancel_requested_by is not None else "running"
    return "held" if held else "waiting"
