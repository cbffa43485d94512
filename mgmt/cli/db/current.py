"""`mgmt db current`."""

import click

from mgmt.cli.app import App
from mgmt.cli.db.schema_version import show_version
from mgmt.cli.parameters import Command


@click.command("current", cls=Command)
@click.pass_obj
def command(app: App) -> None:
    """Show the schema's revision, and the one that mgmt requires.

    \b
    Example:
      mgmt db current
    """
    from mgmt.services import database

    show_version(app, database.version(app.catalog))
