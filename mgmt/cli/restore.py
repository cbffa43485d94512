"""`mgmt restore`."""

from collections.abc import Generator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from mgmt.choices import OnConflict, Tier
from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.download import COLUMNS as DOWNLOADED
from mgmt.cli.download import PLAN as DOWNLOADS
from mgmt.cli.money import COST, max_cost, prices_of, refuse_above
from mgmt.cli.outcomes import show_outcomes, show_previews
from mgmt.cli.parameters import Command, dry_run, given
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable
from mgmt.errors import ConfigurationError

if TYPE_CHECKING:
    from mgmt.catalog import DownloadRecord, RestoreRecord
    from mgmt.services.download import Preview as Download
    from mgmt.services.restore import Preview
    from mgmt.services.steps.batch import Outcome

RECORDED = ("keyword", "batch", "tier", "days", "max_cost", "allow_unknown_price")
COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_path", "long"),
    Column("CLASS", "s3_storage_class", leaves=2),
    Column("TIER", "tier", leaves=3),
    Column("EXPECTED", "expected_at", "time", leaves=1),
    Column("RESTORED UNTIL", "expires_at", "time"),
)
PLAN = (
    Column("OBJECT", "object", "long"),
    Column("STATE", "state"),
    Column("CLASS", "storage_class", leaves=2),
    Column("SIZE", "size", "size"),
    Column("TIER", "tier", leaves=1),
    Column("DAYS", "days", "count", leaves=1),
    Column("EXPECTED", "expected_at", "time"),
    COST,
)


def check(names: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless the archives are chosen in one way."""
    ways = [bool(names), *(bool(values[each]) for each in ("keyword", "batch", "is_ready"))]
    if sum(ways) != 1:
        raise ConfigurationError(
            "restore takes either NAMEs, or --search, or --batch, or --ready", next_step="mgmt restore --help"
        )


@click.command("restore", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@click.option(
    "--search", "keyword", metavar="KEYWORD", help="Restore all frozen archives that match, or a member of which does."
)
@click.option("--batch", metavar="ID", help="Restore the archives of this operation.")
@click.option("--ready", "is_ready", is_flag=True, help="Download all that can be read by now.")
@click.option("--to", default=".", show_default=True, metavar="DIR", help="Destination folder for --ready.")
@click.option(
    "--tier",
    type=click.Choice([each.value for each in Tier], case_sensitive=False),
    default=Tier.STANDARD.value,
    show_default=True,
    help="How fast: Bulk is the slowest and cheapest, Expedited costs most.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=7,
    show_default=True,
    help="How long the restored archive can be read.",
)
@max_cost
@dry_run
@requestable(RECORDED, check=check)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    keyword: str | None,
    batch: str | None,
    is_ready: bool,
    to: str,
    tier: str,
    days: int,
    max_cost: Decimal | None,
    allow_unknown_price: bool,
    dry_run: bool,
) -> None:
    """Restore frozen archives: they can be read for some days.

    The store is asked once for each archive; it takes minutes or days. --ready downloads what can be read by then.

    \b
    Example:
      mgmt restore holiday --tier Bulk
      mgmt restore --ready --to /tmp
    """
    from mgmt.services.restore import preview, restore
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.steps.thaw import ThawOptions

    app: App = ctx.obj
    if is_ready:
        _fetch(app, to, max_cost, allow_unknown=allow_unknown_price, dry_run=dry_run)
        return
    extend = "days" in given(ctx, ["days"])
    options = ThawOptions(tier=Tier(tier), days=days, table=prices_of(app), extend=extend, may_ask=True)
    names = _chosen(app, names, keyword, batch)

    def look(name: str) -> "Preview":
        return preview(name, options, app.context())

    if dry_run:
        show_previews(app, names, look, PLAN)
    refuse_above(names, look, max_cost, allow_unknown=allow_unknown_price)
    if dry_run:
        return
    context, title = app.context(given(ctx, RECORDED)), f"{len(names)} restores"
    outcomes = run_batch(names, lambda name, each: restore(name, options, each), context, name=title)
    asked = given(ctx, ("tier", "days"))
    show_outcomes(app, outcomes, COLUMNS, several=len(names) > 1, sentences=lambda record: _sentences(record, asked))


def _sentences(record: "RestoreRecord", asked: Mapping[str, object]) -> list[str]:
    """What was not done of what the command asked for."""
    if record.status == "success" and record.requested_at is None and "days" not in asked:
        until = f" until {record.expires_at:%Y-%m-%d %H:%M} UTC" if record.expires_at is not None else ""
        return [f"unchanged {record.target_name} can be read{until}: nothing had to be restored"]
    other = [f"--{name}" for name, value in asked.items() if value != getattr(record, name)]
    if record.status == "pending" and other:
        how = f"{record.tier}, {record.days} days"
        words = " and ".join(other)
        return [f"unchanged {record.target_name} is being restored already ({how}): {words} changed nothing"]
    return []


def _chosen(app: App, names: tuple[str, ...], keyword: str | None, batch: str | None) -> tuple[str, ...]:
    from mgmt.services.restore import archives_of, matching

    if keyword is not None:
        return tuple(matching(keyword, app.context()))
    return names if batch is None else tuple(archives_of(batch, app.context()))


def _fetch(app: App, to: str, most: Decimal | None, *, allow_unknown: bool, dry_run: bool) -> None:
    """Download what can be read by now. This never asks for a thaw."""
    from mgmt.services.download import download, preview
    from mgmt.services.restore import ready
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.steps.restoring import DownloadOptions
    from mgmt.services.steps.thaw import ThawOptions

    names, failed = ready(app.context(), change=not dry_run)
    if waiting := app.catalog.thaws.pending():
        expected = max((each.expected_at for each in waiting if each.expected_at is not None), default=None)
        by = f", the last by {expected:%Y-%m-%d %H:%M} UTC" if expected is not None else ""
        app.progress.note(f"note: archives that are being restored: {len(waiting)}{by}")
    policy, thaw = OnConflict(app.settings.on_conflict), ThawOptions(table=prices_of(app))
    options = DownloadOptions(to=to, on_conflict=policy, threads=app.settings.threads, thaw=thaw)

    def look(name: str) -> "Download":
        return preview(name, options, app.context())

    if dry_run:
        show_previews(app, names, look, DOWNLOADS)
    refuse_above(names, look, most, allow_unknown=allow_unknown)
    if dry_run:
        return

    def outcomes() -> "Generator[Outcome[DownloadRecord], None, None]":
        yield from failed
        title = f"{len(names)} downloads"
        yield from run_batch(
            names, lambda name, each: download(name, options, each), app.context({"to": to}), name=title
        )

    show_outcomes(app, outcomes(), DOWNLOADED, several=len(names) + len(failed) > 1)
