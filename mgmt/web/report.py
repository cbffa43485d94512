"""The report as a page: the answer first, then what needs attention, then the figures, then the archives."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mgmt.choices import ARCHIVES_OF_A_PAGE, LATELY_DAYS
from mgmt.services.page import MONTHS, Listed
from mgmt.services.steps.figures import Report
from mgmt.shown import counted, human_size
from mgmt.web import archives as table
from mgmt.web import month_charts as charts
from mgmt.web import months as by_month
from mgmt.web.attention import Alert, alerts, causes, single_copies
from mgmt.web.figures import figures, group
from mgmt.web.month_data import operations_data
from mgmt.web.page import Page, render

FIRST = 25
"""Archives that the page shows without scripts."""


def report_page(report: Report, listed: Listed, most: int = ARCHIVES_OF_A_PAGE) -> str:
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
            data={"archives": archives_data, "operations": operations_data(report, listed)},
        ),
        **values(report),
        first_archives=archives[: min(FIRST, count)],
        archives_note=_archives_note(count, total),
        rest_command=f"mgmt report --html FILE --archives {total}" if count < total else None,
    )


def values(report: Report, href: str = by_month.HREF) -> dict[str, Any]:
    """What the template of the report shows of its figures; the bar of a month leads to `href`."""
    found = alerts(report)
    months = [by_month.shown(each, href) for each in report.months[-MONTHS:]]
    before = sum(each.size for each in report.months[:-MONTHS])
    return {
        "report": report,
        "period": _period(report),
        "answer": _answer(report, found),
        "lead": _lead(report, found),
        "alerts": found,
        "single_copies": single_copies(report),
        "figures": list(figures(report)),
        "statuses": list(by_month.STATUSES.items()),
        "months": months,
        "earlier": len(report.months) - len(months),
        "volume_chart": charts.volume_chart(months) if months else "",
        "total_chart": charts.total_chart(months, before) if months and not (report.since or report.until) else "",
        "operations_chart": charts.operations_chart(months) if months else "",
        "groups": [group(name, volumes) for name, volumes in report.groups.items() if volumes],
        "activity": [{**asdict(each), "statuses": by_month.by_status(each.statuses)} for each in report.activity],
        "causes": causes(report.failures),
    }


def _answer(report: Report, found: Sequence[Alert]) -> str:
    """How much, and how safe."""
    stored = f"{counted(report.total.archives, 'archive')}, {human_size(report.total.size)}"
    if not found:
        return f"{stored}; nothing needs attention"
    return f"{stored}; {len(found)} {'thing needs' if len(found) == 1 else 'things need'} attention"


def _lead(report: Report, found: Sequence[Alert]) -> str:
    if found:
        return "; ".join(each.title for each in found) + "."
    if not report.total.archives:
        return "Nothing is archived yet."
    return (
        f"No archive is known to be damaged, all were verified in the last {report.unverified_days} days, and no "
        f"operation that failed in the last {LATELY_DAYS} days is left to do."
    )


def _period(report: Report) -> str:
    since = f" since {report.since:%Y-%m-%d}" if report.since else ""
    until = f" until {report.until:%Y-%m-%d}" if report.until else ""
    return f", operations{since}{until}" if since or until else ""


def _archives_note(count: int, total: int) -> str:
    if not total:
        return "Nothing is archived yet."
    if count >= total:
        return "All archives that are stored now."
    return f"The newest {count:,} of {total:,}. A page with all of them, which is larger:"
