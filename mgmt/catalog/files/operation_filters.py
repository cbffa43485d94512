"""What narrows a list of operations."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement

from mgmt.catalog.db.conditions import containing
from mgmt.catalog.files.arguments import require_moments, require_text
from mgmt.catalog.records.enums import Status, one_of
from mgmt.catalog.records.operations import OperationRecord


class OperationNarrowing(TypedDict, total=False):
    """What a list of operations may be given by name."""

    after: str | None
    user: str | None
    host: str | None
    target: str | None
    parent: str | None


def narrow_operations(given: OperationNarrowing) -> list[ColumnElement[bool]]:
    """The conditions on operations; what is None excludes nothing."""
    conditions: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "user": lambda user: OperationRecord.user == user,
        "host": lambda host: OperationRecord.host == host,
        "target": lambda part: containing(OperationRecord.target_path, part),
        "parent": lambda parent: OperationRecord.parent_id == parent,
    }
    return [conditions[name](value) for name, value in given.items() if value is not None]


def operations_between(
    operation_type: str | None, status: Status | str | None, start_date: datetime | None, end_date: datetime | None
) -> list[ColumnElement[bool]]:
    """The conditions on operations of this type and status that began in this time; what is None excludes nothing."""
    require_text(operation_type=operation_type)
    require_moments(start_date=start_date, end_date=end_date)
    conditions: list[ColumnElement[bool]] = []
    if operation_type is not None:
        conditions.append(OperationRecord.operation_type == operation_type)
    if status is not None:
        conditions.append(OperationRecord.status == one_of(Status, status))
    if start_date is not None:
        conditions.append(OperationRecord.started_at >= start_date)
    if end_date is not None:
        conditions.append(OperationRecord.started_at < end_date)
    return conditions
