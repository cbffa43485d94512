"""`mgmt db backup`."""

from dataclasses import asdict

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("backup", cls=Command)
@click.argument("file", type=click.Path(dir_okay=False))
@click.pass_obj
def command(app: App, file: str) -> None:
    """Back up an SQLite catalog to FILE, even while it is in use.

    The copy is checked. An existing FILE is never overwritten.

    \b
    Example:
      mgmt db backup ~/catalog-2026-01-31.db
    """
    from mgmt.services import database

    copy = database.backup(file, app.catalog)
    if app.render.for_people:
        app.render.line(f"the catalog was backed up to {copy.backup}")
    else:
        app.render.one(asdict(copy))
