"""`mgmt delete`."""

from decimal import Decimal
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.money import COST, max_cost, prices_of, refuse_above
from mgmt.cli.outcomes import confirm_existing, show_outcomes, show_previews
from mgmt.cli.parameters import Command, dry_run, given, yes
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable
from mgmt.errors import ConfigurationError
from mgmt.shown import human_size
from mgmt.words import shell_word

if TYPE_CHECKING:
    from mgmt.catalog import DeleteRecord

RECORDED = ("last_copy", "purge", "max_cost", "allow_unknown_price")
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
    Column("VERSION LEFT", "remains", "long", leaves=3),
    Column("OTHER COPY", "other_copy", "long"),
    COST,
)


@click.command("delete", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_name)
@click.option("--last-copy", is_flag=True, help="Delete even the last proven copy.")
@click.option("--purge", is_flag=True, help="Also remove the older versions that a versioned bucket keeps.")
@max_cost
@yes
@dry_run
@requestable(RECORDED)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    last_copy: bool,
    purge: bool,
    max_cost: Decimal | None,
    allow_unknown_price: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Delete archives from the store; their records are kept.

    Refuses unless another copy of the same content is proven first: the original, the copy in completed/, a download, a
    tar.gz from --keep-archive, or another archive. --last-copy skips that check. A versioned bucket keeps what was
    deleted until --purge removes it; mgmt undelete brings it back.

    \b
    Example:
      mgmt delete holiday --yes
    """
    from mgmt.services.delete import delete, preview
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.steps.resolve import find_archive
    from mgmt.services.steps.versions import find_kept

    app: App = ctx.obj

    def look(name: str) -> dict[str, object]:
        return preview(name, app.context(), last_copy=last_copy, purge=purge, table=prices_of(app))

    if dry_run:
        show_previews(app, names, look, PLAN)
    refuse_above(names, look, max_cost, allow_unknown=allow_unknown_price)
    if dry_run:
        return
    confirm_existing(
        names,
        lambda name: find_kept(name, app.context()) if purge else find_archive(name, app.context(), strictly=True),
        lambda found: f"Delete {', '.join(each.url for each in found)}{' with all versions' if purge else ''}?",
        yes=yes,
    )
    outcomes = run_batch(
        names,
        lambda name, context: delete(name, context, last_copy=last_copy, purge=purge),
        app.context(given(ctx, RECORDED)),
        name=f"{len(names)} deletions",
    )
    show_outcomes(app, outcomes, COLUMNS, several=len(names) > 1, sentences=lambda record: _left(app, record))


def _left(app: App, record: "DeleteRecord") -> list[str]:
    """The lines for people about what is left in a versioned bucket, what that costs, and how to bring it back."""
    details = record.details
    if "purged" in details:
        return [f"purged    {record.target_path}: {details['purged']} versions"] if details["purged"] else []
    if "version_id" not in details:
        return []
    from mgmt.services.steps.plan_cost import of_version

    size, word = int(details.get("remaining_size") or 0), shell_word(str(record.target_path))
    try:
        cost = str(of_version(size, details.get("storage_class"), prices_of(app)))
    except ConfigurationError as exc:  # of the prices; the archive is deleted all the same
        cost = f"cost unknown: {exc.message}"
    return [
        f"remains   {record.target_path} as version {details['version_id']}: {human_size(size)}, {cost}",
        f"          mgmt undelete {word} brings it back, mgmt delete --purge {word} removes it for good",
    ]
