"""The operations that failed lately, and whose work nothing has done or tried since."""

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select
from sqlalchemy.orm import aliased

from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.transfers import DownloadRecord

MOST = 10_000
"""Failed operations that are looked at, the newest."""

PART = 500
"""Ids in one query."""

BATCH = "batch"


class Unresolved(NamedTuple):
    """An operation that failed, the last attempt at its target."""

    operation_id: str
    operation_type: str
    target: str | None
    message: str
    seq: int


def unresolved(database: Database, types: Collection[str], since: datetime) -> list[Unresolved]:
    """The operations of these types, and the batches that began nothing, that failed since then: of each target the
    last attempt, unless it was retried. The newest first.

    What somebody has cancelled since counts as an attempt, what was interrupted does not. Read are the last `MOST` that
    failed, and the operations since with the same targets.
    """
    failed = _failed(types, since)
    part = failed.subquery()
    columns = [*failed.selected_columns]
    same = operations.c.target_path.in_(select(part.c.target_path))
    first = select(part.c.seq).order_by(part.c.seq).limit(1).scalar_subquery()
    others = _rows(columns).where(operations.c.seq >= first, same, operations.c.operation_type.in_([*types, BATCH]))
    with database.reading() as session:
        found = session.execute(failed).all()
        if not found:
            return []
        last: dict[object, int] = {}
        for row in session.execute(others):
            if not _is_interrupted(row):
                last[_key(row)] = max(row.seq, last.get(_key(row), 0))
        retried: set[str] = set()
        for start in range(0, len(found), PART):
            some = [row.operation_id for row in found[start : start + PART]]
            again = select(operations.c.retry_of).where(operations.c.retry_of.in_(some))
            retried.update(session.scalars(again.where(operations.c.status != Status.FAILED)))
    return [
        Unresolved(row.operation_id, row.operation_type, row.target_path, row.error_message or "", row.seq)
        for row in found
        if row.operation_id not in retried and last.get(_key(row), row.seq) <= row.seq
    ]


def _failed(types: Iterable[str], since: datetime) -> Select[Any]:
    of, child = operations.c, aliased(operations)
    unbegun = and_(
        of.operation_type == BATCH, ~select(child.c.seq).where(child.c.parent_id == of.operation_id).exists()
    )
    columns: list[ColumnElement[Any]] = [of.operation_id, of.operation_type, of.target_path, of.error_message, of.seq]
    columns += [of.host, of.status, of.command_args, DownloadRecord.__table__.c.member]
    query = _rows(columns).where(of.status == Status.FAILED, of.started_at >= since)
    return query.where(or_(of.operation_type.in_([*types]), unbegun)).order_by(of.seq.desc()).limit(MOST)


def _rows(columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
    downloads = DownloadRecord.__table__
    joined = operations.outerjoin(downloads, downloads.c.operation_id == operations.c.operation_id)
    return select(*columns).select_from(joined)


def _key(row: Row[Any]) -> object:
    """What attempts at the same work have in common."""
    if row.operation_type == BATCH:  # whose target says little more than how many it has
        return BATCH, row.target_path, row.host, json.dumps(row.command_args, sort_keys=True, default=str)
    if row.target_path is None:
        return row.operation_id
    return row.operation_type, row.target_path, row.host, row.member


def _is_interrupted(row: Row[Any]) -> bool:
    return bool(row.status == Status.CANCELLED and (row.error_message or "").startswith(("interrupted", "cancelled: ")))
