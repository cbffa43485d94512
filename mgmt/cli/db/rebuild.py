"""`mgmt db rebuild`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("rebuild", cls=Command)
@click.pass_obj
def command(app: App) -> None:
    """Rebuild archive records from the indexes in the store.

    No archive is thawed, and none is read unless its index contradicts what this catalog has proven of it.

    \b
    Example:
      mgmt db rebuild
    """
    from mgmt.services.rebuild import rebuild

    record = rebuild(app.context())
    if app.render.for_people:
        app.render.line(f"recorded {record.details['archives']} archives with {record.details['members']} members")
        if foreign := record.details["foreign"]:
            app.render.line(f"left {len(foreign)} foreign objects alone; the first: {foreign[0]}")
    else:
        app.render.one(record)
