"""`mgmt delete`."""

from decimal import Decimal

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.money import COST, max_cost, prices_of, refuse_above
from mgmt.cli.outcomes import confirm_existing, show_outcomes, show_previews
from mgmt.cli.parameters import Command, dry_run, given, yes
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable

RECORDED = ("last_copy", "max_cost", "allow_unknown_price")
COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_path", "long"),
    Column(
        "OTHER COPY",
        lambda record: (record.details or {}).get("other_copy") if hasattr(record, "details") else None,
        "long",
        leaves=1,
    ),
)
PLAN = (
    Column("DELETE", "object", "long"),
    Column("SIZE", "size", "size"),
    Column("INDEX", "index", "long", leaves=1),
    Column("OTHER COPY", "other_copy", "long"),
    COST,
)


@click.command("delete", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_name)
@click.option("--last-copy", is_flag=True, help="Delete even the last proven copy.")
@max_cost
@yes
@dry_run
@requestable(RECORDED)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    last_copy: bool,
    max_cost: Decimal | None,
    allow_unknown_price: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Delete archives from the store; their records are kept.

    Refuses unless another copy of the same content is proven first: the original, the copy in completed/, a download, a
    tar.gz from --keep-archive, or another archive. --last-copy skips that check.

    \b
    Example:
      mgmt delete holiday --yes
    """
    from mgmt.services.delete import delete, preview
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.steps.resolve import find_archive

    app: App = ctx.obj

    def look(name: str) -> dict[str, object]:
        return preview(name, app.context(), last_copy=last_copy, table=prices_of(app))

    if dry_run:
        show_previews(app, names, look, PLAN)
        return
    refuse_above(names, look, max_cost, allow_unknown=allow_unknown_price)
    confirm_existing(
        names,
        lambda name: find_archive(name, app.context(), strictly=True),
        lambda found: f"Delete {', '.join(each.url for each in found)}?",
        yes=yes,
    )
    outcomes = run_batch(
        names,
        lambda name, context: delete(name, context, last_copy=last_copy),
        app.context(given(ctx, RECORDED)),
        name=f"{len(names)} deletions",
    )
    show_outcomes(app, outcomes, COLUMNS, several=len(names) > 1)
