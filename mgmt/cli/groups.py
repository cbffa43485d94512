"""Groups of commands: which module holds each command, and how `--help` lists them."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import click

from mgmt.cli.parameters import Group

Sections = Mapping[str, Mapping[str, str]]
"""Heading in `--help` -> name of a command -> the module whose `command` it is.

A module that stands under two names is one command with an alias.
"""


class LazyGroup(Group):
    """A group that imports a command when it is used: starting up costs only what is needed."""

    def __init__(self, *args: Any, sections: Sections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._modules = {name: module for section in sections.values() for name, module in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, aliases too, in the order of the help."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called `cmd_name`; None if there is no such command."""
        if cmd_name not in self._modules:
            return None
        command: click.Command = importlib.import_module(self._modules[cmd_name]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings, one line each, in columns that line up."""
        sections = {title: list(self._rows(ctx, modules)) for title, modules in self._sections.items()}
        width = max(len(names) for rows in sections.values() for names, _ in rows)
        for title, rows in sections.items():
            with formatter.section(title):
                room = formatter.width - width - 6
                formatter.write_dl([(names.ljust(width), command.get_short_help_str(room)) for names, command in rows])

    def _rows(self, ctx: click.Context, modules: Mapping[str, str]) -> Iterator[tuple[str, click.Command]]:
        """Each command of a section once, with all of its names."""
        for module in dict.fromkeys(modules.values()):
            names = [name for name, each in modules.items() if each == module]
            if (command := self.get_command(ctx, names[0])) is not None:
                yield ", ".join(names), command
