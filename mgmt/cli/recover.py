"""`mgmt recover`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import dry_run
from mgmt.cli.render import Column

COLUMNS = (
    Column("TYPE", "operation_type"),
    Column("TARGET", "target"),
    Column("WHAT WAS DONE", "action"),
    Column("STATUS", "status"),
    Column("OPERATION", "operation_id"),
)


@click.command("recover")
@dry_run
@click.pass_obj
def command(app: App, dry_run: bool) -> None:
    """Settle what was interrupted and not run again: finish it, or undo it.

    \b
    Example:
      mgmt recover -n
      mgmt recover
    """
    from mgmt.services.recover import recover

    settled = recover(open_store=app.store, catalog=app.catalog, progress=app.progress, dry_run=dry_run)
    app.render.many(settled, COLUMNS, empty="nothing was interrupted")
