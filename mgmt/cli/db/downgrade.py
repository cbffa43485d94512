"""`mgmt db downgrade`."""

import click

from mgmt.cli.app import App
from mgmt.cli.db.schema_version import show_version
from mgmt.cli.parameters import Command


@click.command("downgrade", cls=Command)
@click.argument("revision", metavar="REV")
@click.pass_obj
def command(app: App, revision: str) -> None:
    """Downgrade the schema to REV; `base` removes everything.

    The downgrade is one transaction. An SQLite catalog is backed up before.

    \b
    Example:
      mgmt db downgrade 0001
    """
    from mgmt.services import database

    show_version(app, database.downgrade(revision, app.catalog))
