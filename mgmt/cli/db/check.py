"""`mgmt db check`."""

from dataclasses import asdict

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("check", cls=Command)
@click.option("--repair", is_flag=True, help="Create missing triggers and indexes again, and advance sequences.")
@click.pass_obj
def command(app: App, repair: bool) -> None:
    """Check the schema and the integrity of the database.

    A repair changes no row. While a trigger was missing, anybody could: run `mgmt audit verify` afterwards.

    \b
    Example:
      mgmt db check
      mgmt db check --repair
    """
    from mgmt.services import database

    found = database.check(app.catalog, repair=repair)
    if not app.render.for_people:
        app.render.one(asdict(found))
    else:
        for repaired in found.repaired:
            app.render.line(f"repaired: {repaired}")
        for problem in found.problems or ["the catalog is sound"]:
            app.render.line(problem)
    if found.error is not None:
        raise found.error
