"""`mgmt db sql`."""

from dataclasses import asdict

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("sql", cls=Command)
@click.argument("revisions", default="base:head", metavar="[OLD:NEW]")
@click.option(
    "--dialect", type=click.Choice(("sqlite", "postgresql")), help="Dialect of the SQL.  [default: the catalog's]"
)
@click.pass_obj
def command(app: App, revisions: str, dialect: str | None) -> None:
    """Print the SQL of a schema change for review; run nothing.

    \b
    Example:
      mgmt db sql base:head --dialect postgresql
    """
    from mgmt.services import database

    script = database.sql(revisions, dialect, app.catalog)
    if app.render.for_people:
        app.render.text(script.sql)
    else:
        app.render.one(asdict(script))
