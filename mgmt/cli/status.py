"""`mgmt status`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mgmt.cli import log, ls
from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.parameters import Command, chosen_host, host
from mgmt.cli.render import Column
from mgmt.cli.retention import restore_state

if TYPE_CHECKING:
    from mgmt.services.status import FileStatusReport


@click.command("status", cls=Command)
@click.argument("name", shell_complete=complete_name)
@host
@click.option("-l", "--long", is_flag=True, help="Show exact values, and empty fields.")
@click.pass_obj
def command(app: App, name: str, host: str | None, long: bool) -> None:
    """Show one file, archive or operation in full.

    For an archive: its record, what the store reports, its members, copies and history.

    \b
    Example:
      mgmt status holiday
    """
    from mgmt.services.status import FileStatusReport, status

    report = status(name, app.context(), host=chosen_host(host))
    if not app.render.for_people:
        app.render.one(report, long=long)
    elif isinstance(report, FileStatusReport):
        _show_file(app, report, long=long)
    else:
        app.render.one(report.operation, long=long)
        _section(app, "files", report.files, ls.COLUMNS, long=long)
        _section(app, "children", report.children, log.COLUMNS, long=long)


def _show_file(app: App, report: "FileStatusReport", *, long: bool) -> None:
    if report.file is not None:
        app.render.one(report.file, long=long)
    if report.stored is not None:
        app.render.line("in the store", apart=True)
        app.render.one(report.stored, long=long)
    if report.problem is not None:
        app.render.line(f"in the store: {report.problem}", apart=True)
    if report.cold is not None:
        app.render.line(f"{restore_state(report.cold)}", apart=True)
    app.render.line(f"members: {report.members}", apart=True)
    _section(app, "archives", report.archives, ls.COLUMNS, long=long)
    _section(app, "copies", report.copies, ls.OF_HOSTS, long=long)
    _section(app, "history", report.history, log.COLUMNS, long=long)


def _section(app: App, title: str, items: Sequence[object], columns: Sequence[Column], *, long: bool) -> None:
    if items:
        app.render.line(title, apart=True)
        app.render.many(items, columns, long=long)
