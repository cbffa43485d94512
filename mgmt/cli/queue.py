"""`mgmt queue`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.progress import remaining
from mgmt.cli.render import Column, human_size


def progress_of(each: object) -> str | None:
    """How far an operation is, for people; None if that is not known."""
    done, total = getattr(each, "done_bytes", None), getattr(each, "total_bytes", None)
    if done is None:
        return None
    shown = human_size(done) if not total else f"{min(1, done / total):.0%} of {human_size(total)}"
    left = getattr(each, "seconds_left", None)
    return shown if left is None else f"{shown}, {remaining(left)} left"


COLUMNS = (
    Column("#", "position", "count", leaves=5),
    Column("STATUS", "status"),
    Column("TYPE", "operation_type"),
    Column("TARGET", "target_path", "long"),
    Column("PROGRESS", progress_of, leaves=4),
    Column("QUEUE", "queue", leaves=6),
    Column("NOT BEFORE", "not_before", "time", leaves=3),
    Column("AFTER", "after", "long", leaves=7),
    Column("TRY", lambda each: f"{each.attempt} of {each.attempts}", leaves=8),
    Column("RUNS ON", "runs_on", "long", leaves=9),
    Column("ID", "operation_id", leaves=1),
)


@click.command("queue", cls=Command)
@click.option("--release", "released", is_flag=True, help="Let held jobs run, such as those of an import.")
@click.option("-l", "--long", is_flag=True, help="Show exact values.")
@click.pass_obj
def command(app: App, released: bool, long: bool) -> None:
    """List requested operations that wait or run.

    \b
    Example:
      mgmt queue
    """
    from mgmt.services.queue import waiting

    if released:
        count = app.catalog.queue.release(())
        app.progress.note(f"note: {count} jobs were released")
    app.render.many(waiting(app.catalog), COLUMNS, long=long, empty="nothing is queued")
