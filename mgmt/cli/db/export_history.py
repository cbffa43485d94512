"""`mgmt db export`."""

import sys
from dataclasses import asdict

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("export", cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE|-")
@click.option(
    "--no-members", is_flag=True, help="Leave out the members of archives; `mgmt db rebuild` can restore them."
)
@click.pass_obj
def command(app: App, file: str, no_members: bool) -> None:
    """Export the history to FILE (`-`: stdout) as JSON Lines.

    The export is compressed if FILE ends with .gz. An existing FILE is never overwritten.

    \b
    Example:
      mgmt db export history-2026-01-31.jsonl.gz
      mgmt db export - | mgmt --catalog postgresql://localhost/mgmt db import -
    """
    from mgmt.services import database

    if file == "-":
        database.write_history(sys.stdout.buffer, app.catalog, members=not no_members)
        return
    exported = database.export_history(file, app.catalog, members=not no_members)
    if app.render.for_people:
        counts = f"{exported.counts.operations} operations in {exported.counts.seals} seals"
        app.render.line(f"exported {counts} to {exported.file}")
    else:
        app.render.one({"file": exported.file, **asdict(exported.counts), "type": "export"})
