"""All commands of mgmt, by the words of their names."""

from collections.abc import Iterator

import click

from mgmt.cli import cli


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """`command` and all its subcommands, including aliases."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, (*path, name))


ALL = dict(walk(cli))
"""Including `mgmt` itself, which is `()`."""

GROUPS = {path: command for path, command in ALL.items() if isinstance(command, click.Group)}
LEAVES = {path: command for path, command in ALL.items() if path not in GROUPS}


def spelled(path: tuple[str, ...]) -> str:
    """The full name of a command, as in `mgmt db upgrade`."""
    return " ".join(("mgmt", *path))
