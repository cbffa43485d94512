"""`mgmt db history`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column

COLUMNS = (
    Column("REVISION", "revision"),
    Column("AFTER", "previous"),
    Column("HEAD", lambda each: "head" if each.is_head else None),
    Column("SUMMARY", "summary", "sentence"),
)


@click.command("history", cls=Command)
@click.pass_obj
def command(app: App) -> None:
    """List the revisions of the schema, newest first.

    \b
    Example:
      mgmt db history
    """
    from mgmt.services import database

    app.render.many(database.revisions(), COLUMNS)
