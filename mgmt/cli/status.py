"""`mgmt status`."""

from typing import TYPE_CHECKING

import click

from mgmt.cli import log, ls
from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.file_status import section, show_file
from mgmt.cli.parameters import Command, chosen_host, host
from mgmt.cli.retention import restore_state

if TYPE_CHECKING:
    from mgmt.services.status import FileStatusReport, OperationReport


@click.command("status", cls=Command)
@click.argument("name", shell_complete=complete_name)
@host
@click.option("-l", "--long", is_flag=True, help="Show every field with its exact value, and all operations.")
@click.pass_obj
def command(app: App, name: str, host: str | None, long: bool) -> None:
    """Show whether an archive is safe, or how an operation ended.

    First a sentence: how many proven copies there are, whether one may be freed, and what to do. Then what it is, where
    it is, what proves it, and what was done with it. Of an operation with several targets, how many failed, and which.

    \b
    Example:
      mgmt status holiday
      mgmt status 93481d1c-8e54-48c1-84e0-70cb02015d58
    """
    from mgmt.services.status import FileStatusReport, status

    report = status(name, app.context(), host=chosen_host(host))
    if not app.render.for_people:
        app.render.one(report, long=long)
    elif not isinstance(report, FileStatusReport):
        _show_operation(app, report, long=long)
    elif long:
        _show_fields(app, report)
    else:
        show_file(app, report)


def _show_fields(app: App, report: "FileStatusReport") -> None:
    """Every field of every record."""
    app.render.line(report.sentence)
    if report.file is not None:
        app.render.line("record", apart=True)
        app.render.one(report.file, long=True)
    if report.stored is not None:
        app.render.line("in the store", apart=True)
        app.render.one(report.stored, long=True)
    if report.problem is not None:
        app.render.line(f"in the store: {report.problem}", apart=True)
    if report.cold is not None:
        app.render.line(f"{restore_state(report.cold)}", apart=True)
    app.render.line(f"members: {report.members}", apart=True)
    section(app, "archives", report.archives, ls.COLUMNS, long=True)
    section(app, "copies", report.copies, ls.OF_HOSTS, long=True)
    section(app, "history", report.history, log.COLUMNS, long=True)


def _show_operation(app: App, report: "OperationReport", *, long: bool) -> None:
    from mgmt.services.status import children
    from mgmt.services.steps.next_step import next_step

    app.render.one(report.operation, long=long)
    if step := next_step(report.operation, app.catalog.metadata.repeats_of(report.operation.operation_id)):
        app.render.line(f"what to do: {step}", apart=True)
    section(app, "files", report.files, ls.COLUMNS, long=long)
    if report.statuses:
        counts = ", ".join(f"{count:,} {status}" for status, count in report.statuses.items())
        app.render.line(f"{sum(report.statuses.values()):,} operations: {counts}", apart=True)
        if long:
            every = children(report.operation.operation_id, app.catalog)
            section(app, "operations", list(every), log.COLUMNS, long=True)
        else:
            section(app, "failed", report.failed, log.COLUMNS)
