"""`mgmt completion`."""

import click
from click.shell_completion import get_completion_class

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_obj
def command(app: App, shell: str) -> None:
    """Print the completion script for bash, zsh or fish.

    It completes commands, options, and the names of archives in the catalog.

    \b
    Example:
      eval "$(mgmt completion bash)"
    """
    from mgmt.cli import cli

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - Click supports each of these shells
    script = found(cli, {}, "mgmt", "_MGMT_COMPLETE").source()
    # Click's script for fish cuts a name at its first comma.
    app.render.text(script.replace('string split "," $completion', 'string split --max 1 "," $completion'))
