"""`mgmt report`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mgmt.choices import ARCHIVES_OF_A_PAGE, UNVERIFIED_DAYS
from mgmt.cli.app import App
from mgmt.cli.money import prices_of
from mgmt.cli.parameters import Command, period
from mgmt.cli.report_text import ReportText, started
from mgmt.errors import ConfigurationError
from mgmt.shown import human_size

if TYPE_CHECKING:
    from mgmt.services.steps.figures import Month, Report, Volume


@click.command("report", cls=Command)
@period
@click.option(
    "--by",
    multiple=True,
    metavar="GROUP",
    shell_complete=lambda ctx, param, typed: _groups(typed),
    help="Count by class, store, folder, user, host, or tag:KEY.",
)
@click.option(
    "--days",
    type=click.IntRange(min=1, max=36500),
    default=UNVERIFIED_DAYS,
    show_default=True,
    help="List archives that were not verified for so many days.",
)
@click.option(
    "--html", "file", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE", help="Write it as a web page."
)
@click.option(
    "--archives",
    type=click.IntRange(0, 2**31 - 1),
    default=ARCHIVES_OF_A_PAGE,
    show_default=True,
    metavar="N",
    help="With --html: archives that the page lists, the newest.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    since: datetime | None,
    until: datetime | None,
    by: tuple[str, ...],
    days: int,
    file: str | None,
    archives: int,
) -> None:
    """Report what is stored, what was done, and what is at risk.

    With --html, FILE (`-`: stdout) is one page that a browser opens without a network. An earlier page is replaced; any
    other file is not.

    \b
    Example:
      mgmt report
      mgmt report --since 90d --by folder --by tag:project
      mgmt report --html report.html
    """
    from mgmt.services.report import Wanted, gather

    app: App = ctx.obj
    _refuse_empty(since, until)
    if file is None and ctx.get_parameter_source("archives") is ParameterSource.COMMANDLINE:
        raise ConfigurationError("--archives goes with --html", next_step="mgmt report --html FILE --archives N")
    if file is not None and file != "-":
        from mgmt.services.steps.overlaps import refuse_output

        refuse_output(file, app.settings, app.catalog)
    wanted = Wanted(since=since, until=until, by=by, days=days)
    found = gather(app.catalog, wanted, prices_of(app), app.settings.budget)
    if file is not None:
        _page(app, found, file, archives)
    elif app.render.output == "csv":
        rows = [_volume_row(name, each) for name in by for each in found.groups[name]]
        app.render.many(rows if by else [_month_row(each) for each in found.months], ())
    elif not app.render.for_people:
        app.render.one(found)
    elif not found.total.archives and not found.activity:
        app.render.line("The catalog is empty: nothing was archived yet, and no operation is recorded.")
    else:
        ReportText(app.render).show(found, by)


def _refuse_empty(since: datetime | None, until: datetime | None) -> None:
    """Raises ConfigurationError for a period in which nothing can have started."""
    if since is not None and since > datetime.now(UTC):
        raise ConfigurationError("--since is in the future", next_step="mgmt report --since 30d")
    if since is not None and until is not None and since >= until:
        raise ConfigurationError("--since is not before --until", next_step="mgmt report --since 60d --until 30d")


def _groups(typed: str) -> list[str]:
    from mgmt.catalog.files.figures import GROUPS

    return [each for each in (*GROUPS, "tag:") if each.startswith(typed)]


def _page(app: App, report: "Report", file: str, archives: int) -> None:
    from mgmt.services.page import listed
    from mgmt.services.steps.page_file import save
    from mgmt.web.report import report_page

    page = report_page(report, listed(report, app.catalog, archives), archives)
    if file == "-":
        app.render.text(page)
        return
    path = save(file, page)
    if app.render.for_people:
        app.render.line(f"written   {path}  {human_size(len(page.encode()))}")
    else:
        app.render.one({"type": "page", "file": path, "size": len(page.encode())})


def _volume_row(by: str, each: "Volume") -> Mapping[str, object]:
    return {
        "by": by,
        "group": each.group,
        "archives": each.archives,
        "size": each.size,
        "original_size": each.original_size,
    }


def _month_row(each: "Month") -> Mapping[str, object]:
    return {
        "month": each.month,
        "archives": each.archives,
        "size": each.size,
        "original_size": each.original_size,
        "operations": started(each),
        "failed": started(each, "failed"),
    }
