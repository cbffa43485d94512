"""`mgmt retry`."""

from datetime import datetime
from typing import Any

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command, Moment, dry_run, yes
from mgmt.cli.repeating import confirm_removals, request_all, run_all, show, to_run_here
from mgmt.cli.requests import when
from mgmt.errors import ConfigurationError


@click.command("retry", cls=Command)
@click.argument("operations", nargs=-1, metavar="[ID...]")
@click.option("--failed", "all_failed", is_flag=True, help="Retry all that failed or was interrupted.")
@click.option("--since", type=Moment(), metavar="TIME", help="With --failed: what began since 2026-01-31, or 7d ago.")
@yes
@dry_run
@when
@click.pass_context
def command(
    ctx: click.Context,
    /,
    operations: tuple[str, ...],
    all_failed: bool,
    since: datetime | None,
    yes: bool,
    dry_run: bool,
    **later: Any,
) -> None:
    """Run failed operations again, with their recorded options.

    Of a batch, its failed targets. What has succeeded since is left out. An upload resumes where it stopped. With
    --later, what waited for them runs again after them.

    \b
    Example:
      mgmt retry 7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11
      mgmt retry --failed --since 1d
    """
    from mgmt.services.retry import failed, to_retry

    app: App = ctx.obj
    if bool(operations) == all_failed or (since is not None and not all_failed):
        raise ConfigurationError("choose operations with ID, or with --failed", next_step="mgmt retry --failed -n")
    found = failed(since, app.catalog) if all_failed else to_retry(operations, app.catalog)
    for each in found.left_out:
        app.progress.note(f"note: {each}")
    commands = found.commands if any(later.values()) else to_run_here(app, found.commands)
    if dry_run or not commands:
        show(ctx, commands, empty="nothing to retry")
        return
    confirm_removals(commands, yes=yes)
    if any(later.values()):
        request_all(ctx, commands, later)
    else:
        run_all(ctx, commands)
