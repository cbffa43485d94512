"""`mgmt undelete`."""

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.outcomes import show_outcomes, show_previews
from mgmt.cli.parameters import Command, dry_run, given
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable

RECORDED = ()
COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_path", "long"),
    Column("VERSION", lambda record: (getattr(record, "details", None) or {}).get("version_id"), "long", leaves=1),
)
PLAN = (
    Column("UNDELETE", "object", "long"),
    Column("STATE", "state"),
    Column("SIZE", "size", "size"),
    Column("VERSION", "version_id", "long", leaves=1),
    Column("INDEX", "index", "long", leaves=2),
)


@click.command("undelete", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_name)
@dry_run
@requestable(RECORDED)
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], dry_run: bool) -> None:
    """Bring back deleted archives from a versioned bucket.

    The delete marker is removed, from the archive and from its index: the same version is there again. NAME may be the
    id of the deletion. A store without versions keeps nothing of what was deleted: `mgmt undo` uploads another copy.

    \b
    Example:
      mgmt undelete holiday
    """
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.undelete import preview, undelete

    app: App = ctx.obj
    if dry_run:
        show_previews(app, names, lambda name: preview(name, app.context()), PLAN)
        return
    outcomes = run_batch(names, undelete, app.context(given(ctx, RECORDED)), name=f"{len(names)} undeletions")
    show_outcomes(app, outcomes, COLUMNS, several=len(names) > 1)
