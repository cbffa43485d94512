"""`mgmt replay`."""

from typing import Any

import click

from mgmt.cli.parameters import Command, dry_run, yes
from mgmt.cli.repeating import confirm_removals, request_all, run_all, show, to_run_here
from mgmt.cli.requests import when


@click.command("replay", cls=Command)
@click.argument("operation", metavar="ID")
@yes
@dry_run
@when
@click.pass_context
def command(ctx: click.Context, /, operation: str, yes: bool, dry_run: bool, **later: Any) -> None:
    """Run an operation again, however it ended.

    It runs with its recorded options, as a new operation. -n prints the command line.

    \b
    Example:
      mgmt replay 7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11 -n
    """
    from mgmt.services.retry import to_replay

    commands = to_replay(operation, ctx.obj.catalog)
    if not any(later.values()):
        commands = to_run_here(ctx.obj, commands)
    if dry_run:
        show(ctx, commands, empty="nothing to replay")
        return
    confirm_removals(commands, yes=yes)
    if any(later.values()):
        request_all(ctx, commands, later)
    else:
        run_all(ctx, commands)
