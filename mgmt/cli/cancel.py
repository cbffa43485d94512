"""`mgmt cancel`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column

COLUMNS = (
    Column("STATUS", "status"),
    Column("TYPE", "operation_type"),
    Column("TARGET", "target_path", "long"),
    Column("ID", "operation_id"),
)


@click.command("cancel", cls=Command)
@click.argument("operations", nargs=-1, required=True, metavar="ID...")
@click.pass_obj
def command(app: App, operations: tuple[str, ...]) -> None:
    """Cancel operations that wait or run.

    One that waits is cancelled at once, one that runs as soon as that is safe. What an upload has sent is kept, so that
    `mgmt retry` resumes it.

    \b
    Example:
      mgmt cancel 7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11
    """
    from mgmt.services.queue import cancel

    cancelled = [cancel(each, app.catalog, app.progress) for each in operations]
    app.render.many(cancelled, COLUMNS)
    if any(each.cancel_requested_by and not each.status.is_terminal for each in cancelled):
        app.progress.note("note: what runs stops within seconds; mgmt log --status running shows what does")
