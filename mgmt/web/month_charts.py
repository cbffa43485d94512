"""The months of a report as charts: what was archived, what is stored in all, and the operations by status."""

from collections.abc import Sequence
from itertools import accumulate

from markupsafe import Markup

from mgmt.shown import counted, human_size
from mgmt.web.charts import Bar, Chart, by_month
from mgmt.web.months import Shown

UPWARDS = ("failed", "partial", "cancelled", "success", "open")
"""The parts of a bar: failures stand on the axis, where their heights can be compared."""


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


def total_chart(months: Sequence[Shown], before: int = 0) -> Markup:
    """What is stored now, by when it had been archived; `before` the first of these months, so many bytes."""
    totals = [before + size for size in accumulate(each.size for each in months)]
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


def _bar(month: Shown, parts: tuple[tuple[str, float], ...]) -> Bar:
    return Bar(month=month.month, label=f"{month.title}: {month.summary}", parts=parts, href=month.href)


def _axis_size(size: int) -> str:
    return human_size(size).replace(".0 ", " ") if size else "0"


def _span(months: Sequence[Shown]) -> str:
    return f"{months[0].title} to {months[-1].title}"
