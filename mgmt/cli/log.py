"""`mgmt log`, and its alias `mgmt history`."""

from datetime import datetime

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command, limit, period
from mgmt.cli.progress import progress_of
from mgmt.cli.render import Column

COLUMNS = (
    Column("STARTED", "started_at", "time", leaves=2),
    Column("TYPE", "operation_type"),
    Column("STATUS", "status"),
    Column("TARGET", "target_path", "long"),
    Column("SECONDS", lambda each: _seconds(each.duration_seconds), "count", leaves=4),
    Column("ID", "operation_id", leaves=1),
    Column("ERROR", "error_message", "long", leaves=3),
)
RUNNING = (
    *COLUMNS[:4],
    Column("USER", "user", leaves=5),
    Column("RUNS ON", "runs_on", "long", leaves=4),
    Column("LAST HEARTBEAT", "heard_at", "time", leaves=3),
    Column("STAGE", "stage", leaves=6),
    Column("PROGRESS", progress_of, leaves=2),
    Column("ID", "operation_id", leaves=1),
)
"""For operations that have not finished: where they run, and whether they still do."""

STATUSES = ("pending", "running", "success", "failed", "partial", "cancelled")


@click.command("log", cls=Command)
@click.option("--type", "operation_type", metavar="TYPE", help="Filter by type: upload, download, search, ...")
@click.option("--status", type=click.Choice(STATUSES), help="Filter by status.")
@click.option("--user", metavar="USER", help="Filter by user.")
@click.option("--host", metavar="NAME", help="Filter by host.")
@click.option("--target", metavar="PATH", help="Filter by target: a path, or a part of one.")
@period
@limit
@click.option("--after", metavar="ID", help="Continue after this operation, on the next page.")
@click.option("--stats", is_flag=True, help="Show figures of all that match, by type, instead of the operations.")
@click.option("-l", "--long", is_flag=True, help="Show exact values.")
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
    stats: bool,
    long: bool,
) -> None:
    """List operations, newest first.

    `mgmt history` is the same command.

    \b
    Example:
      mgmt log --type upload --status failed --since 7d
      mgmt log --status running
      mgmt log --stats --since 30d
    """
    from mgmt.services.history import Filter, list_operations, statistics

    wanted = Filter(
        operation_type=operation_type,
        status=status,
        user=user,
        host=host,
        target=target,
        since=since,
        until=until,
        limit=limit,
        after=after,
    )
    if stats:
        from mgmt.cli.log_statistics import STATISTICS

        app.render.many(statistics(wanted, app.catalog), STATISTICS, long=long, empty="no operations found")
        return
    columns = RUNNING if status in ("pending", "running") else COLUMNS
    found = list_operations(wanted, app.catalog)
    app.render.many(found, columns, long=long, empty="no operations found")
    app.note_limit(len(found), limit)


def _seconds(duration: float | None) -> str | None:
    return None if duration is None else f"{duration:.1f}"
