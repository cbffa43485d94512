"""The months of a report: as charts, as a table, and as data from which a script shows the operations of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from mgmt.catalog import PastOperation
from mgmt.services.page import Listed, Period
from mgmt.services.steps.figures import Month, Report
from mgmt.shown import human_size, rfc3339, safe
from mgmt.web.attention import counted
from mgmt.web.charts import MONTHS, Bar, Chart, by_month
from mgmt.web.embedded import within
from mgmt.words import operand

STATUSES = {
    "success": "Success",
    "failed": "Failed",
    "partial": "Partial",
    "cancelled": "Cancelled",
    "open": "Not ended",
}
"""What the operations are counted by, and what each is called."""
UPWARDS = ("failed", "partial", "cancelled", "success", "open")
"""The parts of a bar: failures stand on the axis, where their heights can be compared."""

HREF = "#month-{}"
"""Where the bar of a month leads: to its row in the table, from which a script makes the list of its operations."""

TEXT = 300
"""Characters of a target or an error that the page has; `mgmt status` shows all."""
BYTES = 700_000
"""Of the operations in the data of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A month, as the page shows it."""

    month: str
    title: str
    archives: int
    size: int
    original_size: int
    statuses: dict[str, int]
    href: str

    @property
    def operations(self) -> int:
        """How many operations began in it."""
        return sum(self.statuses.values())

    @property
    def summary(self) -> str:
        """Its figures in a sentence."""
        parts = [f"{counted(self.archives, 'archive')}, {human_size(self.size)}", counted(self.operations, "operation")]
        words = {**STATUSES, "success": "succeeded"}
        parts += [f"{number:,} {words[kind].lower()}" for kind, number in self.statuses.items() if number]
        return ", ".join(parts)


def by_status(operations: dict[str, int]) -> dict[str, int]:
    """The number of operations by `STATUSES`, from those by the statuses of records."""
    found = dict.fromkeys(STATUSES, 0)
    for status, number in operations.items():
        found[status if status in found else "open"] += number
    return found


def shown(month: Month, href: str = HREF) -> Shown:
    """A month of the report, as the page shows it."""
    statuses = dict.fromkeys(STATUSES, 0)
    for each in month.operations.values():
        for kind, number in by_status(each).items():
            statuses[kind] += number
    return Shown(
        month=month.month,
        title=f"{MONTHS[int(month.month[5:7]) - 1]} {month.month[:4]}",
        archives=month.archives,
        size=month.size,
        original_size=month.original_size,
        statuses=statuses,
        href=href.format(month.month),
    )


def volume_chart(months: Sequence[Shown]) -> Markup:
    """What was archived, by month."""
    most = max(months, key=lambda each: each.size)
    return by_month(
        Chart(
            name="volume",
            title="Archived each month",
            description=f"{_span(months)}. The most, {human_size(most.size)}, in {most.title}. "
            "The same figures are in the table of months.",
            bars=[_bar(each, (("size", each.size),)) for each in months],
            unit=_axis_size,
            base=1024,
        )
    )


def total_chart(months: Sequence[Shown]) -> Markup:
    """What is stored now, by when it had been archived."""
    totals = list(accumulate(each.size for each in months))
    return by_month(
        Chart(
            name="total",
            title="Stored in all",
            description=f"What is stored now and had been archived by each month. {_span(months)}: "
            f"from {human_size(totals[0])} to {human_size(totals[-1])}.",
            bars=[
                Bar(month=each.month, label=f"{each.title}: {human_size(total)} in all", parts=(("total", total),))
                for each, total in zip(months, totals, strict=True)
            ],
            unit=_axis_size,
            base=1024,
        )
    )


def operations_chart(months: Sequence[Shown]) -> Markup:
    """The operations, by month and status."""
    total = sum(each.operations for each in months)
    failed = sum(each.statuses["failed"] for each in months)
    return by_month(
        Chart(
            name="operations",
            title="Operations each month",
            description=f"{_span(months)}. {counted(total, 'operation')}, of which {failed:,} failed. "
            "The same figures are in the table of months.",
            bars=[_bar(each, tuple((kind, each.statuses[kind]) for kind in UPWARDS)) for each in months],
        )
    )


def operations_data(report: Report, listed: Listed) -> dict[str, object]:
    """The operations of each month, for the script: the months by name, and the types that their rows refer to."""
    types = sorted({each.operation_type for month in listed.operations for each in month})
    budget = BYTES // max(1, len(listed.periods))
    months = {}
    for month, period, operations in zip(map(shown, report.months), listed.periods, listed.operations, strict=True):
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


def _bar(month: Shown, parts: tuple[tuple[str, float], ...]) -> Bar:
    return Bar(month=month.month, label=f"{month.title}: {month.summary}", parts=parts, href=month.href)


def _axis_size(size: int) -> str:
    return human_size(size).replace(".0 ", " ") if size else "0"


def _span(months: Sequence[Shown]) -> str:
    return f"{months[0].title} to {months[-1].title}"
