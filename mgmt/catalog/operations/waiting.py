"""What waits for an operation that has ended: found again when that is retried, or settled when it ended elsewhere."""

from collections import deque
from collections.abc import Collection

from sqlalchemy import Text, cast, exists, select
from sqlalchemy.orm import Session

from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.ending import dependants, end_batch, end_unrun, wait_for
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.jobs import DependencyRecord, JobRecord
from mgmt.catalog.records.operations import OperationRecord, operations

_AT_ONCE = 500
"""Ids in one query."""


def waited_for(database: Database, operation_ids: Collection[str]) -> list[OperationRecord]:
    """Operations that waited for one of these, directly or not, and were cancelled with it; the oldest first."""
    query = (
        select(operations.c.operation_id, operations.c.command_args)
        .where(operations.c.status == Status.CANCELLED, operations.c.error_message.like("cancelled: %"))
        .where(cast(operations.c.command_args, Text).like('%"after"%'))
        .order_by(operations.c.seq)
    )
    found: list[OperationRecord] = []
    with database.reading() as session:
        waiting: dict[str, list[str]] = {}
        for operation_id, arguments in session.execute(query):
            for after in (arguments or {}).get("after") or ():
                waiting.setdefault(str(after), []).append(operation_id)
        ids, left = set[str](), deque(operation_ids)
        while left:
            new = [each for each in waiting.get(left.popleft(), ()) if each not in ids]
            ids.update(new)
            left.extend(new)
        wanted = sorted(ids - set(operation_ids))
        for start in range(0, len(wanted), _AT_ONCE):
            some = OperationRecord.operation_id.in_(wanted[start : start + _AT_ONCE])
            found += session.scalars(select(OperationRecord).where(some))
    return sorted(found, key=lambda each: each.seq)


def settle(session: Session) -> None:
    """Operations have ended in another catalog: end, within this transaction, what ends with them here.

    What waits for one that did not succeed waits for its next attempt, or is cancelled. A batch ends with its last one.
    """
    found = select(operations.c.operation_id, operations.c.operation_type, operations.c.status)
    waited_for = exists().where(DependencyRecord.after_id == operations.c.operation_id)
    undone = found.where(operations.c.status.not_in([*LIVE, Status.SUCCESS]), waited_for)
    for operation_id, kind, status in session.execute(undone).all():
        following = operation_id
        again = found.order_by(operations.c.seq.desc()).limit(1)
        while (newest := session.execute(again.where(operations.c.retry_of == following)).first()) is not None:
            following = newest.operation_id
            if newest.status in (*LIVE, Status.SUCCESS):
                wait_for(session, operation_id, following)
                break
        else:
            for each in dependants(session, operation_id):
                end_unrun(
                    session, each, Status.CANCELLED, f"cancelled: {kind} {operation_id} ended as {Status(status)}"
                )
    session.flush()
    for each in session.scalars(select(JobRecord.operation_id).where(JobRecord.fanned_out)).all():
        end_batch(session, each)
