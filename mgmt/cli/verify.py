"""`mgmt verify`."""

from collections.abc import Generator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.money import COST, max_cost, prices_of, refuse_above
from mgmt.cli.outcomes import show_outcomes, show_previews
from mgmt.cli.parameters import Command, dry_run, given
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable
from mgmt.errors import ConfigurationError

if TYPE_CHECKING:
    from mgmt.catalog import VerifyRecord
    from mgmt.services.steps.batch import Outcome
    from mgmt.services.verify import Preview

RECORDED = ("all_of_them", "sample", "read_back", "mhl", "max_cost", "allow_unknown_price")
COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_name", "long"),
    Column("PROOF", "proof", leaves=1),
    Column("PROBLEM", "problem"),
)
PLAN = (
    Column("OBJECT", "object", "long"),
    Column("READ", "size", "size"),
    Column("REQUESTS", "requests", "count", leaves=1),
    COST,
)


def check(names: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for options that exclude each other, or one that cannot be read."""
    if bool(names) == (values["all_of_them"] or values["sample"] is not None):
        raise ConfigurationError("choose archives with NAME, --all or --sample", next_step="mgmt verify --all")
    if values["mhl"] and not names:
        raise ConfigurationError("--mhl takes NAMEs, not --all or --sample", next_step="mgmt verify --mhl NAME")
    if values["sample"] is not None:
        _share(values["sample"])


@click.command("verify", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_name)
@click.option(
    "--all", "all_of_them", is_flag=True, help="Verify all archives, and report objects that the catalog lacks."
)
@click.option("--sample", metavar="PERCENT", help="Verify a random sample, such as 5%.")
@click.option("--read-back", is_flag=True, help="Read each archive instead of trusting the store's checksum.")
@click.option("--mhl", is_flag=True, help="Also compare each archive with the media hash lists in it.")
@max_cost
@dry_run
@requestable(RECORDED, check=check)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    all_of_them: bool,
    sample: str | None,
    read_back: bool,
    mhl: bool,
    max_cost: Decimal | None,
    allow_unknown_price: bool,
    dry_run: bool,
) -> None:
    """Verify that the store still holds what was archived.

    Also compares the catalog's records with the index of each archive.

    \b
    Example:
      mgmt verify holiday
      mgmt verify --sample 5% --read-back
    """
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.verify import find_unknown, preview, sample_of, verify

    app: App = ctx.obj
    share = _share(sample) if sample is not None else 1.0
    targets = list(names) or sample_of(app.catalog, share)
    table = prices_of(app)

    def look(name: str) -> "Preview":
        return preview(name, app.context(), table, read_back=read_back or mhl)

    if dry_run:
        show_previews(app, targets, look, PLAN)
    refuse_above(targets, look, max_cost, allow_unknown=allow_unknown_price)
    if dry_run:
        return
    context = app.context(given(ctx, RECORDED))

    def outcomes() -> "Generator[Outcome[VerifyRecord], None, None]":
        if all_of_them and context.fan_out is not None:  # before the batch can end: it ends as its parts do
            yield from find_unknown(context)
        if targets or context.fan_out is not None:
            yield from run_batch(
                targets,
                lambda name, each: verify(name, each, read_back=read_back, mhl=mhl),
                context,
                name=f"{len(targets)} archives",
            )
        if all_of_them and context.fan_out is None:
            yield from find_unknown(context)

    show_outcomes(app, outcomes(), COLUMNS, several=all_of_them or len(targets) > 1)


def _share(sample: str) -> float:
    try:
        percent = float(sample.removesuffix("%"))
    except ValueError:
        percent = -1
    if not 0 < percent <= 100:
        raise ConfigurationError(f"--sample {sample!r} is not a percentage", next_step="mgmt verify --sample 5%")
    return percent / 100
