"""The operations of each month as data, of which a script shows those of one."""

from mgmt.catalog import PastOperation
from mgmt.services.page import MONTHS, Listed, Period
from mgmt.services.steps.figures import Report
from mgmt.shown import rfc3339, safe
from mgmt.web.embedded import within
from mgmt.web.months import shown
from mgmt.words import operand

TEXT = 300
"""Characters of a target or an error that the page has; `mgmt status` shows all."""
BYTES = 700_000
"""Of the operations in the data of a page."""


def operations_data(report: Report, listed: Listed) -> dict[str, object]:
    """The operations of each month, for the script: the months by name, and the types that their rows refer to."""
    types = sorted({each.operation_type for month in listed.operations for each in month})
    budget = BYTES // max(1, len(listed.periods))
    months = {}
    shown_months = map(shown, report.months[-MONTHS:])
    for month, period, operations in zip(shown_months, listed.periods, listed.operations, strict=True):
        months[month.month] = {
            "title": month.title,
            "summary": month.summary,
            "operations": month.operations,
            "command": _command(period, month.operations),
            "rows": list(within(budget, (_row(each, types) for each in operations))),
        }
    return {"types": list(map(safe, types)), "months": months}


def _row(operation: PastOperation, types: list[str]) -> list[object]:
    ended = operation.completed_at
    return [
        int(operation.started_at.timestamp()),
        types.index(operation.operation_type),
        operation.status.value,
        _short(operation.target),
        None if ended is None else round(max(0.0, (ended - operation.started_at).total_seconds()), 1),
        _short(operation.error),
        operand(operation.operation_id),
    ]


def _short(text: str | None) -> str:
    text = safe(text or "")
    return text if len(text) <= TEXT else f"{text[:TEXT]}…"


def _command(period: Period, operations: int) -> str:
    since, until = (rfc3339(each) for each in (period.since, period.until))
    return f"mgmt log --since {since} --until {until} --limit {max(1, operations)}"
