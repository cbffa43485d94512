"""`mgmt audit anchor`."""

from datetime import timedelta

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.retention import end_of_retention, retain_for


@click.command("anchor", cls=Command)
@retain_for
@click.pass_obj
def command(app: App, retain_for: timedelta | None) -> None:
    """Write the digest of the last seal to the store.

    `mgmt audit verify` compares the history with it. An anchor is never overwritten. With --retain-for, or if the
    bucket retains objects by default, the store also refuses to delete it.

    \b
    Example:
      mgmt audit anchor
    """
    from mgmt.services.history import anchor

    written = anchor(app.store(), app.catalog, end_of_retention(None, retain_for))
    if app.render.for_people:
        until = "" if written.locked_until is None else f", locked until {written.locked_until:%Y-%m-%d %H:%M} UTC"
        app.render.line(f"anchored seal {written.sequence} in {written.location}{until}")
    else:
        app.render.one(written)
