"""Which operations have a job, or are waited for: for whoever ends one, without the records of the queue.

Most commands end an operation that nothing depends on, and need not wait until those records are mapped.
"""

from collections.abc import Iterable

from sqlalchemy import column, select, table, union_all
from sqlalchemy.orm import Session

_JOBS = table("jobs", column("operation_id"))
_DEPENDENCIES = table("job_dependencies", column("after_id"))


def concerns_queue(session: Session, operation_id: str, parent_id: str | None) -> bool:
    """Whether the operation has a job, another one waits for it, or it is part of a requested batch."""
    ids = [operation_id, *([parent_id] if parent_id else [])]
    question = union_all(
        select(_JOBS.c.operation_id).where(_JOBS.c.operation_id.in_(ids)),
        select(_DEPENDENCIES.c.after_id).where(_DEPENDENCIES.c.after_id == operation_id),
    )
    return session.execute(question.limit(1)).first() is not None


def with_jobs(session: Session, operation_ids: Iterable[str]) -> set[str]:
    """Those of the operations that have a job."""
    query = select(_JOBS.c.operation_id).where(_JOBS.c.operation_id.in_(list(operation_ids)))
    return set(session.scalars(query))
