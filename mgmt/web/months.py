"""The months of a report, as a page shows them."""

from dataclasses import dataclass

from mgmt.services.steps.figures import Month
from mgmt.shown import counted, human_size
from mgmt.web.charts import MONTHS

STATUSES = {
    "success": "Success",
    "failed": "Failed",
    "partial": "Partial",
    "cancelled": "Cancelled",
    "open": "Not ended",
}
"""What the operations are counted by, and what each is called."""

HREF = "#month-{}"
"""Where the bar of a month leads: to its row in the table, from which a script makes the list of its operations."""


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
