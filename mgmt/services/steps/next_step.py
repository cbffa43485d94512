"""The command to type after an operation that has not succeeded."""

from datetime import UTC, datetime, timedelta

from mgmt.catalog import OperationRecord, Status
from mgmt.errors import RefusedError
from mgmt.services.steps.local_files import host
from mgmt.services.steps.repeats import repeat
from mgmt.words import operand

SILENT = timedelta(minutes=5)
"""How long a running operation sends no heartbeat until it counts as interrupted; it sends one each 30 s."""

_UNDONE = (Status.FAILED, Status.PARTIAL, Status.CANCELLED)


def next_step(found: OperationRecord, repeats: list[OperationRecord]) -> str | None:
    """The command that goes on where `found` has ended or was interrupted; None if nothing is left to do."""
    if found.status is Status.RUNNING:
        heard = found.heard_at or found.started_at
        where = "" if found.host in (None, host()) else f"\n# on {found.host}"
        return f"mgmt recover{where}" if datetime.now(UTC) - heard > SILENT else None
    if found.status not in _UNDONE or any(each.status not in _UNDONE for each in repeats):
        return None
    try:
        if found.operation_type != "batch":
            repeat(found)
    except RefusedError as error:
        return error.next_step
    return f"mgmt retry {operand(found.operation_id)}"
