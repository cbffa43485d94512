"""The report as a page of tables, bars and sentences, for people."""

import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from mgmt.choices import LATELY_DAYS
from mgmt.cli.charts import Charts
from mgmt.cli.render import Column, Renderer
from mgmt.shown import counted, human_duration, human_size, human_time

if TYPE_CHECKING:
    from mgmt.services.steps.figures import Activity, Archive, Exposure, Failure, Growth, Month, Report, Volume

BAR = 20
"""Cells of the longest bar."""

MONTHS, MONTHS_OF_LINE = 12, 60
"""Months in the table, and in the line above it."""

LISTED = 5
"""Archives that are named of those that need attention; JSON has more."""

ALWAYS = ("class", "store", "folder")
"""What the volume is shown by; by the others, where there are several, unless the user chooses."""


class ReportText:
    """Prints a report through `render`, part by part."""

    def __init__(self, render: Renderer, stdout: TextIO | None = None) -> None:
        self._render, self._stdout = render, stdout or sys.stdout
        self._charts = Charts(self._stdout)
        render.paint = self._charts.painter()

    def show(self, report: "Report", by: Sequence[str]) -> None:
        """Print the report, with the volume by these groups; without any, by those that tell something."""
        self._stored(report)
        self._at_risk(report)
        self._months(report.months)
        for name in by or [each for each in report.groups if each in ALWAYS or len(report.groups[each]) > 1]:
            self._volumes(name, report.groups[name])
        period = "".join(
            f" {word} {_date(moment)}"
            for word, moment in (("since", report.since), ("until", report.until))
            if moment is not None
        )
        self._activity(report.activity, f"Operations{period}")
        self._failures(report.failures, f"Failures{period}")
        if left := sum(each.operations for each in report.undone):
            what = f"{counted(left, 'operation')} that failed {'is' if left == 1 else 'are'} left to do"
            self._render.line(f"{what}: mgmt retry --failed --since {LATELY_DAYS}d -n")
        self._single_copies(report)
        self._growth(report.growth)

    def _stored(self, report: "Report") -> None:
        total = report.total
        text = f"Stored: {counted(total.archives, 'archive')}, {human_size(total.size)}"
        if total.original_size:
            ratio = total.original_size / max(total.size, 1)
            text += f"; {human_size(total.original_size)} before compression ({ratio:.2f} to 1)"
        self._render.line(f"{text}.")

    def _months(self, months: "Sequence[Month]") -> None:
        if not months:
            return
        width = shutil.get_terminal_size().columns if self._stdout.isatty() else 80
        line = months[-max(1, min(MONTHS_OF_LINE, width - len("2026-01  2026-12"))) :]
        spark = self._charts.sparkline([each.size for each in line])
        self._heading("By month")
        if len(line) > 1:
            self._render.line(f"{line[0].month} {spark} {line[-1].month}")
        shown = months[-MONTHS:]
        most = max(each.size for each in shown)
        columns = (
            Column("MONTH", "month"),
            Column("ARCHIVES", _grouped("archives"), "count", leaves=3),
            Column("SIZE", "size", "size"),
            self._bar("", "size", most),
            Column("OPERATIONS", lambda each: f"{started(each):,}", "count", leaves=2),
            Column("FAILED", lambda each: f"{started(each, 'failed'):,}", "count", leaves=1),
        )
        self._render.many(shown, columns)

    def _volumes(self, name: str, volumes: "Sequence[Volume]") -> None:
        if not volumes:
            return
        most = max(each.size for each in volumes)
        columns = (
            Column(name.upper(), lambda each: "(none)" if each.group is None else each.group, "long"),
            Column("ARCHIVES", _grouped("archives"), "count", leaves=1),
            Column("SIZE", "size", "size"),
            self._bar("", "size", most),
            Column("BEFORE", "original_size", "size", leaves=3),
        )
        self._heading(f"By {name}")
        self._render.many(volumes, columns)

    def _activity(self, activity: "Sequence[Activity]", title: str) -> None:
        if not activity:
            return
        columns = (
            Column("TYPE", "operation_type"),
            Column("SUCCESS", lambda each: f"{each.statuses.get('success', 0):,}", "count"),
            Column("FAILED", lambda each: f"{each.statuses.get('failed', 0):,}", "count"),
            Column("OTHER", _other, "count", leaves=5),
            Column("MEDIAN", lambda each: duration(each.median_seconds), "count", leaves=1),
            Column("95 %", lambda each: duration(each.p95_seconds), "count", leaves=2),
            Column("SIZE", lambda each: each.bytes or None, "size", leaves=4),
            Column("RATE", _rate, "count", leaves=3),
        )
        self._heading(title)
        self._render.many(activity, columns)

    def _failures(self, failures: "Sequence[Failure]", title: str) -> None:
        if not failures:
            return
        columns = (
            Column("FAILED", _grouped("operations"), "count"),
            Column("TYPE", "operation_type"),
            Column("CAUSE", lambda each: self._plain(each.cause), "sentence"),
            Column("LAST", lambda each: human_time(each.last_at), leaves=2),
            Column("ID", "last_operation", leaves=1),
        )
        self._heading(title)
        self._render.many(failures, columns)
        self._render.line("mgmt status ID says what to do")

    def _at_risk(self, report: "Report") -> None:
        days = counted(report.unverified_days, "day")
        number = counted(report.damaged.archives, "archive")
        self._exposure(report.damaged, f"{number} found damaged or missing", Column("FOUND", _on))
        number = counted(report.unarchived.archives, "copy", "copies")
        title = f"{number} in completed/, of which no archive is stored"
        self._exposure(report.unarchived, title, Column("ARCHIVED", _on), "COPY")
        number = counted(report.unverified.archives, "archive")
        self._exposure(report.unverified, f"{number} not verified for {days}", Column("LAST VERIFIED", _on))
        number = counted(report.expiring.archives, "archive")
        title = f"{number} with a lock or a restored copy that ends within 30 days"
        self._exposure(report.expiring, title, Column("WHAT ENDS", "note", "sentence"))
        if report.total.archives and not report.unverified.archives and not report.damaged.archives:
            self._render.line(f"All archives were verified within {days}.", apart=True)

    def _single_copies(self, report: "Report") -> None:
        number = counted(report.single_copy.archives, "archive")
        self._exposure(report.single_copy, f"One proven copy: {number}", Column("ARCHIVED", _on))
        if report.total.archives and not report.single_copy.archives:
            self._render.line("All archives have a second proven copy.", apart=True)

    def _exposure(self, exposure: "Exposure", title: str, last: Column, what: str = "ARCHIVE") -> None:
        if not exposure.archives:
            return
        self._heading(f"{title} ({human_size(exposure.size)})")
        columns = (
            Column(what, "key", "long"),
            *([Column("STORE", "store", "long", leaves=2)] if what == "ARCHIVE" else []),
            Column("SIZE", "size", "size", leaves=1),
            last,
            Column("SAFETY", "safety", "sentence"),
        )
        self._render.many(exposure.first[:LISTED], columns)
        if exposure.archives > LISTED:
            self._render.line(f"and {exposure.archives - LISTED:,} more")

    def _growth(self, growth: "Growth") -> None:
        for number, sentence in enumerate(sentences(growth)):
            self._render.line(sentence, apart=not number)

    def _heading(self, text: str) -> None:
        self._render.line(text, apart=True)

    def _bar(self, title: str, name: str, most: int) -> Column:
        return Column(title, lambda each: self._charts.bar(getattr(each, name), most, BAR), leaves=4)

    def _plain(self, text: str) -> str:
        return text.replace("…", "...") if self._charts.is_ascii else text


def sentences(growth: "Growth") -> list[str]:
    """What is to be said of the growth."""
    found = []
    if growth.bytes_per_month is not None:
        found.append(f"Growth: {human_size(growth.bytes_per_month)} a month, the mean of the last complete months.")
    if growth.free is not None:
        when = f", full about {growth.full_on}" if growth.full_on is not None else ""
        found.append(f"Disks of the stores: {human_size(growth.free)} free{when}.")
    if growth.monthly is not None:
        text = f"Cost: about {growth.monthly:,.2f} {growth.currency} a month"
        if growth.budget is not None:
            reached = "not reached at this growth"
            if growth.budget_reached_on is not None:
                reached = f"reached about {growth.budget_reached_on}"
            text += f"; the budget of {growth.budget:,.2f} is {reached}"
        found.append(f"{text}.")
    elif growth.budget is not None:
        found.append("Cost: unknown, as a price is: mgmt config set price_region REGION, or prices FILE.")
    return found


def started(month: "Month", status: str | None = None) -> int:
    """How many operations started in a month; with `status`, of those that have it now."""
    return sum(
        count for by_status in month.operations.values() for name, count in by_status.items() if status in (None, name)
    )


def duration(seconds: float | None) -> str | None:
    """As `human_duration`; None stays."""
    return None if seconds is None else human_duration(seconds)


def _date(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d}"


def _on(each: "Archive") -> str:
    return _date(each.on)


def _grouped(name: str) -> Callable[[object], str]:
    return lambda each: f"{getattr(each, name):,}"


def _other(each: "Activity") -> str:
    return f"{sum(count for status, count in each.statuses.items() if status not in ('success', 'failed')):,}"


def _rate(each: "Activity") -> str | None:
    return None if each.bytes_per_second is None else f"{human_size(int(each.bytes_per_second))}/s"
