"""`mgmt queue`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.progress import progress_of
from mgmt.cli.render import Column

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
@click.option("--move-from", metavar="HOST", help="Let this machine run what waits for HOST, its former name.")
@click.option("-l", "--long", is_flag=True, help="Show exact values.")
@click.pass_obj
def command(app: App, released: bool, move_from: str | None, long: bool) -> None:
    """List requested operations that wait or run.

    \b
    Example:
      mgmt queue
    """
    from mgmt.services import queue
    from mgmt.services.steps.elsewhere import waiting_elsewhere

    if move_from is not None:
        operations, schedules = queue.move_from(move_from, app.catalog)
        what = f"{_count(operations, 'operation')} and {_count(schedules, 'schedule')}"
        app.progress.note(f"note: {what} are moved here from {move_from}")
    if released:
        count = app.catalog.queue.release(())
        app.progress.note(f"note: {count} jobs were released")
    app.render.many(queue.waiting(app.catalog), COLUMNS, long=long, empty="nothing is queued")
    for what, next_step in waiting_elsewhere(app.catalog):
        app.progress.note(f"note: {what}: {' '.join(next_step.splitlines())}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
