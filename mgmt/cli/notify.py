"""`mgmt notify`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Group
from mgmt.cli.parameters import limit as limit_option
from mgmt.cli.render import Column
from mgmt.errors import MgmtError, PartialError

TRIALS = (
    Column("RULE", "rule"),
    Column("CHANNEL", "channel", leaves=2),
    Column("STATUS", "status"),
    Column("SECONDS", "seconds", "count", leaves=1),
    Column("ERROR", "error", "sentence"),
)
MESSAGES = (
    Column("STATUS", "status"),
    Column("RULE", "rule"),
    Column("WHAT", "text", "sentence"),
    Column("CREATED", "created_at", "time", leaves=3),
    Column("TRIES", "attempts", "count", leaves=4),
    Column("NEXT TRY", "next_try_at", "time", leaves=2),
    Column("HOST", "host", leaves=6),
    Column("ERROR", "error", "sentence", leaves=1),
    Column("ID", "message_id", leaves=5),
)


@click.group("notify", cls=Group)
def command() -> None:
    """Test notification rules, and list notifications.

    The rules are the [[notify]] tables of the configuration file.

    \b
    Example:
      mgmt notify test
      mgmt notify ls
    """


@command.command()
@click.argument("rule", required=False, metavar="[RULE]")
@click.pass_obj
def test(app: App, rule: str | None) -> None:
    """Send a test by each rule, or by RULE.

    \b
    Example:
      mgmt notify test
      mgmt notify test phone
    """
    from mgmt.services.notify import try_rules

    app.settings  # noqa: B018 - loads the rules
    trials = try_rules(app.rules, rule)
    app.render.many(trials, TRIALS)
    failed = [each for each in trials if each.error is not None]
    if failed:
        kind = MgmtError if len(failed) == len(trials) else PartialError
        raise kind(f"{len(failed)} of {len(trials)} notifications were not delivered: {failed[0].error}")


@command.command("ls")
@limit_option
@click.option("-l", "--long", is_flag=True, help="Show exact values.")
@click.pass_obj
def ls(app: App, limit: int, long: bool) -> None:
    """List notifications, newest first: delivered, waiting, failed.

    \b
    Example:
      mgmt notify ls
    """
    from mgmt.services.notify import listed

    found = listed(app.catalog, limit)
    app.render.many(found, MESSAGES, long=long, empty="no notifications")
    app.note_limit(len(found), limit)


@command.command()
@click.argument("messages", nargs=-1, metavar="[ID...]")
@click.pass_obj
def retry(app: App, messages: tuple[str, ...]) -> None:
    """Send failed notifications again.

    All of them, or those with an ID. Each is tried once more, by a worker or at the end of the next command.

    \b
    Example:
      mgmt notify retry
    """
    from mgmt.services.notify import send_again

    app.render.many(send_again(messages, app.catalog), MESSAGES, empty="no failed notifications")
