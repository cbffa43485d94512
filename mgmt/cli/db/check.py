"""`mgmt db check`."""

from dataclasses import asdict

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("check", cls=Command)
@click.pass_obj
def command(app: App) -> None:
    """Check the schema and the integrity of the database.

    \b
    Example:
      mgmt db check
    """
    from mgmt.services import database

    found = database.check(app.catalog)
    if not app.render.for_people:
        app.render.one(asdict(found))
    else:
        for problem in found.problems or ["the catalog is sound"]:
            app.render.line(problem)
    if found.error is not None:
        raise found.error
