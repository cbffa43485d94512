"""`mgmt audit anchor`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("anchor", cls=Command)
@click.pass_obj
def command(app: App) -> None:
    """Write the digest of the last seal to the store.

    `mgmt audit verify` compares the history with it. An anchor is never overwritten.

    \b
    Example:
      mgmt audit anchor
    """
    from mgmt.services.history import anchor

    written = anchor(app.store(), app.catalog)
    if app.render.for_people:
        app.render.line(f"anchored seal {written.sequence} in {written.location}")
    else:
        app.render.one(written)
