"""`mgmt free`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.outcomes import confirm_existing, show_outcomes, show_previews
from mgmt.cli.parameters import Command, Duration, dry_run, given, yes
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable
from mgmt.errors import ConfigurationError

if TYPE_CHECKING:
    from mgmt.catalog import FileRecord

RECORDED = ("all_of_them", "older_than")
COLUMNS = (
    Column("STATUS", "status"),
    Column("COPY", "target_path", "long"),
    Column("FREED", lambda record: record.details.get("freed") if hasattr(record, "details") else None, "size"),
)
PLAN = (
    Column("REMOVE", "path", "long"),
    Column("SIZE", "original_size", "size"),
    Column("ARCHIVED", "recorded_at", "time", leaves=1),
)


def check(names: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for options that exclude each other."""
    if bool(names) == (values["all_of_them"] or values["older_than"] is not None):
        raise ConfigurationError("choose copies with NAME, --all or --older-than", next_step="mgmt free --all -n")


@click.command("free", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_name)
@click.option("--all", "all_of_them", is_flag=True, help="Free every copy in completed/ on this host.")
@click.option(
    "--older-than", type=Duration(), metavar="AGE", help="Free only copies archived longer ago than AGE, such as 30d."
)
@yes
@dry_run
@requestable(RECORDED, check=check)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    all_of_them: bool,
    older_than: timedelta | None,
    yes: bool,
    dry_run: bool,
) -> None:
    """Remove copies in completed/ to free disk space.

    Before a copy is removed, it is compared with what was archived, and an archive of the same content is proven again.

    \b
    Example:
      mgmt free holiday
      mgmt free --older-than 30d --yes
    """
    from mgmt.services.free import completed_copies, find_copy, free, preview
    from mgmt.services.steps.batch import run_batch

    app: App = ctx.obj
    targets = list(names) or [each.path for each in completed_copies(app.catalog, older_than)]
    if not targets or dry_run:
        show_previews(app, targets, lambda name: preview(name, app.context()), PLAN)
        return
    confirm_existing(targets, lambda name: find_copy(name, app.context()), _question, yes=yes)
    context = app.context(given(ctx, RECORDED))
    outcomes = run_batch(targets, free, context, name=f"{len(targets)} completed copies")
    show_outcomes(app, outcomes, COLUMNS, several=len(targets) > 1)


def _question(copies: "list[FileRecord]") -> str:
    return f"Remove {copies[0].path}?" if len(copies) == 1 else f"Remove {len(copies)} completed copies?"
