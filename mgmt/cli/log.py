"""`mgmt log`, also called `mgmt history`."""

from datetime import datetime

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command, limit, period
from mgmt.cli.render import Column

COLUMNS = (
    Column("STARTED", "started_at", "time"),
    Column("TYPE", "operation_type"),
    Column("STATUS", "status"),
    Column("TARGET", "target_path"),
    Column("SECONDS", lambda each: None if each.duration_seconds is None else f"{each.duration_seconds:.1f}", "count"),
    Column("ID", "operation_id"),
    Column("ERROR", "error_message"),
)
UNDER_WAY = (
    *COLUMNS[:4],
    Column("USER", "user"),
    Column("RUNS ON", "runs_on"),
    Column("LAST HEARD OF", "heard_at", "time"),
    Column("STAGE", "stage"),
    Column("ID", "operation_id"),
)
"""For what is running: where, and whether it still is."""

STATUSES = ("pending", "running", "success", "failed", "partial", "cancelled")


@click.command("log", cls=Command)
@click.option("--type", "operation_type", metavar="TYPE", help="Only this type: upload, download, search, ...")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--user", help="Only this user's.")
@click.option("--host", metavar="NAME", help="Only what ran on this machine.")
@click.option("--target", metavar="PATH", help="Only those of this target.")
@period
@limit
@click.option("--after", metavar="ID", help="Only what came before the operation ID: the next page.")
@click.option("-l", "--long", is_flag=True, help="Exact values.")
@click.pass_obj
def command(
    app: App,
    operation_type: str | None,
    status: str | None,
    user: str | None,
    host: str | None,
    target: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    after: str | None,
    long: bool,
) -> None:
    """What was done, by whom and how it ended; the newest first.

    \b
    Example:
      mgmt log --type upload --status failed --since 7d
      mgmt log --status running
    """
    from mgmt.catalog import Status

    operations = app.catalog.metadata.list_operations(
        operation_type,
        Status(status) if status else None,
        since,
        until,
        limit,
        after,
        user=user,
        host=host,
        target=target,
    )
    columns = UNDER_WAY if status in ("pending", "running") else COLUMNS
    app.render.many(operations, columns, long=long, empty="no operation is recorded")
