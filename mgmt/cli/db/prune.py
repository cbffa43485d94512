"""`mgmt db prune`."""

from datetime import datetime

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command, Moment, confirm, dry_run, given, yes
from mgmt.cli.render import Column

PLAN = (Column("REMOVE", "operation_type"), Column("OPERATIONS", "count", "count"))


@click.command("prune", cls=Command)
@click.option(
    "--before",
    type=Moment(),
    required=True,
    metavar="TIME",
    help="Prune operations that finished before TIME: a date, or 2y for two years ago.",
)
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Filter by type: search, download, ...; may be repeated."
)
@click.option("--export", "file", type=click.Path(dir_okay=False), help="Export to this file.  [default: to the store]")
@yes
@dry_run
@click.pass_context
def command(
    ctx: click.Context, before: datetime, types: tuple[str, ...], file: str | None, yes: bool, dry_run: bool
) -> None:
    """Export old operations, then remove them from the catalog.

    The export is verified first. Operations that are still referenced are kept.

    \b
    Example:
      mgmt db prune --before 2y --type search --type status -n
      mgmt db prune --before 2024-01-01 --export operations-2023.jsonl.gz
    """
    from mgmt.catalog.audit.prune import PruneFilter
    from mgmt.services.prune import prunable, prune

    app: App = ctx.obj
    which = PruneFilter(before, types)
    found = prunable(which, app.catalog)
    if dry_run or not found:
        app.render.many(found, PLAN, empty="nothing to prune")
        return
    confirm(f"Export {sum(each.count for each in found)} operations, and remove them from the catalog?", yes=yes)
    record = prune(which, file, app.context(given(ctx, ("before", "types", "file"))))
    if app.render.for_people:
        app.render.line(f"exported {record.removed_count} operations to {record.result_path}, and removed them")
    else:
        app.render.one(record)
