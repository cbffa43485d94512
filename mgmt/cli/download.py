"""`mgmt download`."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from mgmt.choices import OnConflict, Tier
from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.money import COST, max_cost, prices_of, refuse_above
from mgmt.cli.outcomes import left_out, show_outcomes, show_previews, skipped
from mgmt.cli.parameters import Command, dry_run, given
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable
from mgmt.config import ON_CONFLICT
from mgmt.errors import ConfigurationError

if TYPE_CHECKING:
    from mgmt.catalog import DownloadRecord
    from mgmt.services.download import Preview
    from mgmt.services.steps.context import Context

RECORDED = (
    *("to", "members", "archive", "on_conflict", "skip_unsupported", "mhl", "tier"),
    *("max_cost", "allow_unknown_price"),
)
COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_name", "long"),
    Column("MEMBER", "member", "long", leaves=1),
    Column("READ", "downloaded_size", "size", leaves=2),
    Column("TO", "local_path", "long"),
)
PLAN = (
    Column("STATUS", "status"),
    Column("OBJECT", "object", "long"),
    Column("SIZE", "size", "size"),
    Column("REQUESTS", "requests", "count", leaves=1),
    Column("TO", "to", "long"),
    COST,
)


def check(names: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for options that exclude each other."""
    if values["members"] and (values["archive"] or len(names) > 1):
        raise ConfigurationError(
            "--member takes exactly one NAME, and excludes --archive", next_step="mgmt download --help"
        )
    if values["mhl"] and (values["members"] or values["archive"] or values["skip_unsupported"]):
        raise ConfigurationError(
            "--mhl needs the whole folder: it excludes --member, --archive and --skip-unsupported",
            next_step="mgmt download --mhl NAME",
        )


@click.command("download", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_name)
@click.option("--to", default=".", show_default=True, metavar="DIR", help="Destination folder.")
@click.option(
    "--member",
    "members",
    multiple=True,
    metavar="PATH",
    help="Restore only this member, by byte range; may be repeated.",
)
@click.option("--archive", is_flag=True, help="Download the tar.gz itself.")
@click.option("--on-conflict", type=click.Choice(ON_CONFLICT), help="What to do if the name is taken.")
@click.option("--skip-unsupported", is_flag=True, help="Leave out what the file system of DIR cannot hold.")
@click.option(
    "--mhl", is_flag=True, help="Append a generation to the media hash lists of the folder, or make the first."
)
@click.option(
    "--tier",
    type=click.Choice([each.value for each in Tier], case_sensitive=False),
    default=Tier.STANDARD.value,
    show_default=True,
    help="How fast a frozen archive is restored.",
)
@click.option("--wait", is_flag=True, help="Wait until a frozen archive can be read.")
@max_cost
@dry_run
@requestable(RECORDED, check=check)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    members: tuple[str, ...],
    max_cost: Decimal | None,
    allow_unknown_price: bool,
    dry_run: bool,
    **chosen: Any,
) -> None:
    """Restore files and folders from their archives.

    Everything is verified before it appears under its final name. Nothing is overwritten.

    \b
    Example:
      mgmt download holiday --to /tmp
      mgmt download holiday --member beach/IMG_0001.jpg
    """
    from mgmt.services.download import download, preview
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.steps.restoring import DownloadOptions
    from mgmt.services.steps.thaw import ThawOptions

    app: App = ctx.obj
    thaw = ThawOptions(tier=Tier(chosen["tier"]), table=prices_of(app), may_ask=True)

    def options(member: str | None) -> DownloadOptions:
        return DownloadOptions(
            to=chosen["to"],
            member=member,
            on_conflict=OnConflict(chosen["on_conflict"] or app.settings.on_conflict),
            threads=app.settings.threads,
            thaw=thaw,
            **{name: chosen[name] for name in ("archive", "skip_unsupported", "mhl", "wait")},
        )

    by_label = _labelled(names, members)

    def look(label: str) -> "Preview":
        return preview(by_label[label][0], options(by_label[label][1]), app.context())

    if dry_run:
        show_previews(app, list(by_label), look, PLAN, sentences=_foreseen)
    refuse_above(by_label, look, max_cost, allow_unknown=allow_unknown_price)
    if dry_run:
        return
    bundle = app.context(given(ctx, RECORDED))
    if bundle.fan_out is not None and members:
        bundle.fan_out(names, [{"members": [each]} for each in members])
        return

    def work(label: str, context: "Context") -> "DownloadRecord":
        return download(by_label[label][0], options(by_label[label][1]), context)

    name = f"{len(by_label)} downloads"
    outcomes = run_batch(list(by_label), work, bundle, name=name, unrecorded=bundle.note_read_only)
    show_outcomes(app, outcomes, COLUMNS, several=len(by_label) > 1, sentences=_sentences)


def _labelled(names: Sequence[str], members: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """The archive and the member of each target, by what it is called."""
    found: dict[str, tuple[str, str | None]] = {}
    for name in names:
        for member in members or (None,):
            found[f"{name}:{member}" if member else name] = name, member
    return found


def _foreseen(found: "Preview") -> list[str]:
    return skipped(found.object, found.status, found.error_message)


def _sentences(record: "DownloadRecord") -> list[str]:
    """The lines for people about one target."""
    return [*skipped(record.target_path or "", record.status, record.error_message), *left_out(record)]
