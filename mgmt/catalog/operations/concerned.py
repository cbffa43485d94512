"""The jobs, dependants and batch that the end of an operation concerns."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import delete, exists, func, select, union_all
from sqlalchemy.orm import Session

from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.jobs import DependencyRecord, JobRecord
from mgmt.catalog.records.operations import OperationRecord, operations


def backoff(job: JobRecord) -> timedelta:
    """How long to wait after the current attempt."""
    return timedelta(seconds=job.backoff_seconds * 2 ** min(job.attempt - 1, 16))


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


def concerned(session: Session, operation: OperationRecord) -> bool:
    """Whether the end of `operation` concerns the queue: it has a job, or another one waits for it or contains it."""
    ids = [operation.operation_id, *([operation.parent_id] if operation.parent_id else [])]
    question = union_all(
        select(JobRecord.operation_id).where(JobRecord.operation_id.in_(ids)),
        select(DependencyRecord.after_id).where(DependencyRecord.after_id == operation.operation_id),
    )
    return session.execute(question.limit(1)).first() is not None


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
