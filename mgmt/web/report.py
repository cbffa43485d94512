"""The report as a page: the answer first, then what needs attention, then the figures, then the archives."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mgmt.services.page import ARCHIVES, Listed
from mgmt.services.steps.figures import Report, Volume
from mgmt.shown import human_size
from mgmt.web import archives as table
from mgmt.web import months as by_month
from mgmt.web.attention import Alert, alerts, counted
from mgmt.web.page import Page, render

FIRST = 25
"""Archives that the page shows without scripts."""

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


def report_page(report: Report, listed: Listed, most: int = ARCHIVES) -> str:
    """The page of `report`, which lists up to `most` archives: one HTML document that needs nothing else."""
    archives = [table.shown(each) for each in listed.archives]
    archives_data = table.data(archives, most)
    count, total = len(archives_data["rows"]), report.total.archives
    scripts = ("page.js", *(["months.js"] if report.months else []), *(["archives.js"] if count else []))
    return render(
        Page(
            template="report.html",
            title=f"mgmt report {report.made_at:%Y-%m-%d}",
            scripts=scripts,
            data={"archives": archives_data, "operations": by_month.operations_data(report, listed)},
        ),
        **values(report),
        first_archives=archives[: min(FIRST, count)],
        archives_note=_archives_note(count, total),
        rest_command=f"mgmt report --html FILE --archives {total}" if count < total else None,
    )


def values(report: Report, href: str = by_month.HREF) -> dict[str, Any]:
    """What the template of the report shows of its figures; the bar of a month leads to `href`."""
    found = alerts(report)
    months = [by_month.shown(each, href) for each in report.months]
    return {
        "report": report,
        "period": _period(report),
        "answer": _answer(report, found),
        "lead": _lead(report, found),
        "alerts": found,
        "figures": list(_figures(report)),
        "statuses": list(by_month.STATUSES.items()),
        "months": months,
        "volume_chart": by_month.volume_chart(months) if months else "",
        "total_chart": by_month.total_chart(months) if months and not (report.since or report.until) else "",
        "operations_chart": by_month.operations_chart(months) if months else "",
        "groups": [_group(name, volumes) for name, volumes in report.groups.items() if volumes],
        "activity": [{**asdict(each), "statuses": by_month.by_status(each.statuses)} for each in report.activity],
    }


def _answer(report: Report, found: Sequence[Alert]) -> str:
    """How much, and how safe."""
    stored = f"{counted(report.total.archives, 'archive')}, {human_size(report.total.size)}"
    if not found:
        return f"{stored}; nothing needs attention"
    return f"{stored}; {len(found)} {'thing needs' if len(found) == 1 else 'things need'} attention"


def _lead(report: Report, found: Sequence[Alert]) -> str:
    if not found and report.total.archives:
        return (
            "No operation failed, each archive has a second proven copy, and all were verified in the last "
            f"{report.unverified_days} days."
        )
    return "; ".join(each.title for each in found) + "." if found else "Nothing is archived yet."


def _period(report: Report) -> str:
    since = f" since {report.since:%Y-%m-%d}" if report.since else ""
    until = f" until {report.until:%Y-%m-%d}" if report.until else ""
    return f", operations{since}{until}" if since or until else ""


def _figures(report: Report) -> Iterator[Figure]:
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
    done = by_month.by_status({})
    for each in report.activity:
        for status, number in by_month.by_status(each.statuses).items():
            done[status] += number
    if ended := sum(done.values()) - done["open"]:
        rate = done["success"] / ended
        success = f"{rate:.1%} succeeded" if rate in (0, 1) or 0.001 <= rate <= 0.999 else f"{rate:.2%} succeeded"
        yield Figure(name="Operations", value=f"{ended + done['open']:,}", more=success)


def _group(name: str, volumes: Sequence[Volume]) -> dict[str, object]:
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


def _archives_note(count: int, total: int) -> str:
    if not total:
        return "Nothing is archived yet."
    if count >= total:
        return "All archives that are stored now."
    return f"The newest {count:,} of {total:,}. A page with all of them, which is larger:"
