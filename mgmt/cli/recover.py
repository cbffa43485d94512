"""`mgmt recover`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command, dry_run
from mgmt.cli.render import Column

COLUMNS = (
    Column("TYPE", "operation_type"),
    Column("TARGET", "target", "long"),
    Column("ACTION", "action", "long"),
    Column("STATUS", "status", leaves=1),
    Column("OPERATION", "operation_id", leaves=2),
)

OF_HOST = (*COLUMNS, Column("HOST", "host"), Column("LAST HEARTBEAT", "heard_at", "time", leaves=3))


@click.command("recover", cls=Command)
@click.option("--host", metavar="NAME", help="Also recover operations left by host NAME (only if that host is down).")
@dry_run
@click.pass_obj
def command(app: App, host: str | None, dry_run: bool) -> None:
    """Finish or undo interrupted operations.

    A complete archive is proven and recorded, never removed. Copies in completed/ that have no record are recorded if
    an archive of the same content exists. Operations that still run are left alone.

    \b
    Example:
      mgmt recover -n
      mgmt recover
      mgmt recover --host nas
    """
    from mgmt.services.recover import recover

    settled = recover(app.context(), dry_run=dry_run, dead_host=host)
    app.render.many(settled, OF_HOST if host else COLUMNS, empty="no interrupted operations")
