"""`mgmt completion`."""

import os

import click
from click.shell_completion import get_completion_class

from mgmt.choices import SHELLS
from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column
from mgmt.errors import ConfigurationError

COLUMNS = (Column("STATUS", "status"), Column("FILE", "path", "long"))


@click.command("completion", cls=Command)
@click.argument("action", type=click.Choice((*SHELLS, "install")), metavar="SHELL")
@click.option("--shell", type=click.Choice(SHELLS), help="Install it for this shell instead of yours.")
@click.pass_obj
def command(app: App, action: str, shell: str | None) -> None:
    """Print or install the completion script of a shell.

    For bash, zsh and fish. It completes commands, options, and the names of archives in the catalog. `install` writes
    the script, and lets your shell load it when it starts: bash and zsh by one more line in .bashrc or .zshrc.

    \b
    Example:
      eval "$(mgmt completion bash)"
      mgmt completion install
    """
    if action != "install":
        if shell is not None:
            raise ConfigurationError(
                "--shell goes with `install`", next_step=f"mgmt completion install --shell {shell}"
            )
        app.render.text(_script(action))
        return
    from mgmt.services.completion import install, shell_of

    chosen = shell or shell_of(os.environ)
    app.render.many(install(chosen, _script(chosen), os.environ), COLUMNS)
    app.progress.note(f"note: {chosen} completes mgmt when it starts again")


def _script(shell: str) -> str:
    from mgmt.cli import cli

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - Click supports each of these shells
    script = found(cli, {}, "mgmt", "_MGMT_COMPLETE").source()
    # Click's script for fish cuts a name at its first comma.
    return script.replace('string split "," $completion', 'string split --max 1 "," $completion')
