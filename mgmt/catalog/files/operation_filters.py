"""What narrows a list of operations."""

from collections.abc import Callable
from typing import Any, TypedDict

from sqlalchemy import ColumnElement

from mgmt.catalog.db.conditions import containing
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
