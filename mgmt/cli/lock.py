"""`mgmt lock`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from mgmt.choices import LockMode
from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.outcomes import show_outcomes, show_previews
from mgmt.cli.parameters import Command, Duration, confirm, dry_run, given
from mgmt.cli.render import Column
from mgmt.cli.requests import Future, requestable
from mgmt.cli.retention import end_of_retention
from mgmt.errors import ConfigurationError

RECORDED = ("until", "duration", "mode", "legal_hold", "weaken")
COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_path", "long"),
    Column("MODE", "mode", leaves=1),
    Column("UNTIL", "retain_until", "time"),
    Column("LEGAL HOLD", "legal_hold"),
)
PLAN = (
    Column("OBJECT", "object", "long"),
    Column("MODE", "mode", leaves=1),
    Column("UNTIL", "retain_until", "time"),
    Column("LEGAL HOLD", "legal_hold"),
    Column("ENDS EARLIER", "weakens"),
)


def check(_names: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for options that do not go together, or that change nothing."""
    end_of_retention(values["until"], values["duration"], "--until and --for")
    if all(values[each] is None for each in ("until", "duration", "mode", "legal_hold")):
        why = "nothing to change: no --until, --for, --mode or --legal-hold was given"
        raise ConfigurationError(why, next_step="mgmt lock --for 7y NAME")


@click.command("lock", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_name)
@click.option("--until", type=Future(), metavar="TIME", help="Keep it until TIME: 2033-01-31, or +30d.")
@click.option("--for", "duration", type=Duration(), metavar="DURATION", help="Keep it for that long, such as 7y.")
@click.option(
    "--mode",
    type=click.Choice([each.value for each in LockMode], case_sensitive=False),
    help="Who can end it earlier: whoever has s3:BypassGovernanceRetention, or nobody.  [default: of the bucket]",
)
@click.option("--legal-hold/--no-legal-hold", default=None, help="Keep it until the hold is lifted; lift the hold.")
@click.option("--yes", "weaken", is_flag=True, help="Do not ask whether it may be removed earlier.")
@dry_run
@requestable(RECORDED, check=check)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    until: datetime | None,
    duration: timedelta | None,
    mode: str | None,
    legal_hold: bool | None,
    weaken: bool,
    dry_run: bool,
) -> None:
    """Let the store keep archives.

    Nobody can remove them for some time, or until a legal hold is lifted. The bucket must have object lock. A retention
    in COMPLIANCE can only become longer. One in GOVERNANCE can become shorter, which asks for confirmation, as lifting
    a hold does. The index is locked with its archive.

    \b
    Example:
      mgmt lock holiday --for 7y
      mgmt lock holiday --no-legal-hold --yes
    """
    from mgmt.services.lock import LockOptions, lock, preview
    from mgmt.services.steps.batch import preview_each, run_batch

    app: App = ctx.obj
    end = end_of_retention(until, duration, "--until and --for")
    options = LockOptions(until=end, mode=LockMode(mode) if mode else None, legal_hold=legal_hold)
    if dry_run:
        show_previews(app, names, lambda name: preview(name, options, app.context()), PLAN)
        return
    if not weaken and (end is not None or legal_hold is False):
        found = [each.record for each in preview_each(names, lambda name: preview(name, options, app.context()))]
        weaker = [each.object for each in found if each is not None and each.weakens]
        if weaker:
            confirm(f"Let these be removed earlier: {', '.join(weaker)}?", yes=weaken)
    outcomes = run_batch(
        names,
        lambda name, context: lock(name, options, context),
        app.context(given(ctx, RECORDED)),
        name=f"{len(names)} locks",
    )
    show_outcomes(app, outcomes, COLUMNS, several=len(names) > 1)
