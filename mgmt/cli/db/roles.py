"""`mgmt db roles`."""

from dataclasses import asdict

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("roles", cls=Command)
@click.option("--apply", is_flag=True, help="Run the statements instead of printing them.")
@click.option("--prefix", default="mgmt", show_default=True, help="Prefix of the role names.")
@click.pass_obj
def command(app: App, apply: bool, prefix: str) -> None:
    """Print or create the roles of a PostgreSQL catalog.

    The owner migrates the schema, the writer runs mgmt, and the reader may only query.

    \b
    Example:
      mgmt db roles
      mgmt db roles --apply
    """
    from mgmt.services import database

    script = database.create_roles(prefix, app.catalog, apply=apply)
    if not app.render.for_people:
        app.render.one(asdict(script))
    elif apply:
        names = f"{script.owner}, {script.writer} and {script.reader}"
        app.render.line(f"created {names}, with their rights on {script.catalog}")
    else:
        app.render.text(script.sql)
