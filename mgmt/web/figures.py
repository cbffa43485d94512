"""The main figures of a report, and its volume by groups, as a page shows them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mgmt.services.steps.figures import Report, Volume
from mgmt.shown import human_size
from mgmt.web.months import by_status

OTHERS = "(others)"
GROUPS = {
    "class": ("By storage class", "Class"),
    "store": ("By store", "Store"),
    "folder": ("By folder", "Folder"),
    "user": ("By user", "User"),
    "host": ("By host", "Host"),
}
NO_GROUP = {"class": "(no class)", "folder": "(no folder)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, what it is, and what more there is to say."""

    name: str
    value: str
    more: str = ""


def figures(report: Report) -> Iterator[Figure]:
    """The figures that a page shows large."""
    total, growth = report.total, report.growth
    yield Figure(name="Archives", value=f"{total.archives:,}")
    ratio = f"{total.original_size / total.size:.2f} to 1" if total.size and total.original_size else ""
    before = f"{human_size(total.original_size)} before compression, {ratio}" if ratio else ""
    yield Figure(name="Stored", value=human_size(total.size), more=before)
    if growth.bytes_per_month is not None:
        yield Figure(
            name="Growth a month", value=human_size(growth.bytes_per_month), more="mean of the last complete months"
        )
    if growth.free is not None:
        full = f"full on {growth.full_on:%Y-%m-%d}, at this growth" if growth.full_on else "of the stores on disk"
        yield Figure(name="Free on disk", value=human_size(growth.free), more=full)
    if growth.monthly is not None:
        budget = "" if growth.budget is None else f"of a budget of {growth.budget:,.2f}"
        if growth.budget_reached_on:
            budget += f", reached on {growth.budget_reached_on:%Y-%m-%d}"
        yield Figure(name="Costs a month", value=f"{growth.monthly:,.2f} {growth.currency or ''}", more=budget)
    done = by_status({})
    for each in report.activity:
        for status, number in by_status(each.statuses).items():
            done[status] += number
    if ended := sum(done.values()) - done["open"]:
        rate = done["success"] / ended
        success = f"{rate:.1%} succeeded" if rate in (0, 1) or 0.001 <= rate <= 0.999 else f"{rate:.2%} succeeded"
        yield Figure(name="Operations", value=f"{ended + done['open']:,}", more=success)


def group(name: str, volumes: Sequence[Volume]) -> dict[str, object]:
    """The volume by one of the groups of a report, for a table with bars."""
    title, column = GROUPS.get(name, (f"By tag “{name.removeprefix('tag:')}”", name.removeprefix("tag:")))
    none = NO_GROUP.get(name, "(none)")
    return {
        "title": title,
        "column": column,
        "largest": max(each.size for each in volumes),
        "volumes": [
            {
                "name": none if each.group is None else each.group,
                "others": each.group in (None, OTHERS),
                "archives": each.archives,
                "size": each.size,
            }
            for each in volumes
        ],
    }
