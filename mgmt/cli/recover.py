"""`mgmt recover`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command, dry_run
from mgmt.cli.render import Column

COLUMNS = (
    Column("TYPE", "operation_type"),
    Column("TARGET", "target"),
    Column("WHAT WAS DONE", "action"),
    Column("STATUS", "status"),
    Column("OPERATION", "operation_id"),
)


FROM_ELSEWHERE = (*COLUMNS, Column("HOST", "host"), Column("LAST HEARD OF", "heard_at", "time"))


@click.command("recover", cls=Command)
@click.option("--host", metavar="NAME", help="The machine NAME is dead, you say: settle what it has left, too.")
@dry_run
@click.pass_obj
def command(app: App, host: str | None, dry_run: bool) -> None:
    """Settle what was interrupted and not run again: finish it, or undo it.

    A complete archive is proven and recorded, never removed. Copies in completed/ that no record names are recorded if
    an archive holds them.

    \b
    Example:
      mgmt recover -n
      mgmt recover
      mgmt recover --host nas
    """
    from mgmt.services.recover import recover

    settled = recover(app.context(), dry_run=dry_run, dead_host=host)
    app.render.many(settled, FROM_ELSEWHERE if host else COLUMNS, empty="nothing was interrupted")
