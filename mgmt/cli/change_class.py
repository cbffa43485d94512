"""`mgmt class`."""

from decimal import Decimal
from typing import TYPE_CHECKING

import click

from mgmt.choices import StorageClass
from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.money import COST, max_cost, prices_of, refuse_above
from mgmt.cli.outcomes import show_outcomes, show_previews
from mgmt.cli.parameters import Command, dry_run, given
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable

if TYPE_CHECKING:
    from mgmt.services.change_class import Preview

RECORDED = ("storage_class", "early", "max_cost", "allow_unknown_price")
COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_path", "long"),
    Column("FROM", "from_class", leaves=1),
    Column("TO", "to_class"),
)
PLAN = (
    Column("OBJECT", "object", "long"),
    Column("SIZE", "size", "size", leaves=1),
    Column("FROM", "from_class", leaves=2),
    Column("TO", "to_class"),
    Column("DAYS LEFT", "days_left", "count"),
    COST,
)


@click.command("class", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_name)
@click.argument(
    "storage_class",
    metavar="CLASS",
    type=click.Choice([each.value for each in StorageClass], case_sensitive=False),
)
@click.option("--yes", "early", is_flag=True, help="Move it even if days of its minimum duration are left, and billed.")
@max_cost
@dry_run
@requestable(RECORDED)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    storage_class: str,
    early: bool,
    max_cost: Decimal | None,
    allow_unknown_price: bool,
    dry_run: bool,
) -> None:
    """Move archives to another storage class.

    The store copies each onto itself, and the copy is proven. A frozen archive has to be restored first: the command
    asks for that, and exits with 6. The index stays in STANDARD.

    \b
    Example:
      mgmt class holiday DEEP_ARCHIVE -n
      mgmt class holiday DEEP_ARCHIVE
    """
    from mgmt.services.change_class import ClassOptions, change_class, preview
    from mgmt.services.steps.batch import run_batch

    app: App = ctx.obj
    table = prices_of(app)
    options = ClassOptions(storage_class=StorageClass(storage_class), early=early)

    def look(name: str) -> "Preview":
        return preview(name, options, table, app.context())

    if dry_run:
        show_previews(app, names, look, PLAN)
    refuse_above(names, look, max_cost, allow_unknown=allow_unknown_price)
    if dry_run:
        return
    outcomes = run_batch(
        names,
        lambda name, context: change_class(name, options, table, context),
        app.context(given(ctx, RECORDED)),
        name=f"{len(names)} moves to {storage_class}",
    )
    show_outcomes(app, outcomes, COLUMNS, several=len(names) > 1, sentences=_sentences)


def _sentences(record: object) -> list[str]:
    details = getattr(record, "details", {})
    name = getattr(record, "target_name", "")
    if details.get("already"):
        return [f"unchanged {name} is in {getattr(record, 'to_class', '')} already"]
    lines = [f"verified  {name}  {details.get('proof')}"]
    if details.get("older_version_stays"):
        lines.append(f"note      the older version of {name} stays in the bucket, and is billed")
    return lines
