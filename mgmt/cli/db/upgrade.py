"""`mgmt db upgrade`."""

import click

from mgmt.cli.app import App
from mgmt.cli.db.schema_version import show_version
from mgmt.cli.parameters import Command


@click.command("upgrade", cls=Command)
@click.argument("revision", default="head", metavar="[REV]")
@click.pass_obj
def command(app: App, revision: str) -> None:
    """Upgrade the schema to REV, by default the newest.

    The upgrade is one transaction. An SQLite catalog is backed up before.

    \b
    Example:
      mgmt db upgrade
    """
    from mgmt.services import database

    show_version(app, database.upgrade(revision, app.catalog))
