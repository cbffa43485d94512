"""`mgmt help`."""

import click
from click.shell_completion import CompletionItem

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The commands that may follow the words before."""
    try:
        found = command_of(ctx.find_root(), ctx.params.get("words") or ())
    except click.UsageError:
        return []
    group = found.command
    names = group.list_commands(found) if isinstance(group, click.Group) else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("help", cls=Command)
@click.argument("words", nargs=-1, metavar="[COMMAND]...", shell_complete=_complete)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of mgmt or of a command.

    The same as `mgmt COMMAND --help`.

    \b
    Example:
      mgmt help upload
      mgmt help db backup
    """
    app: App = ctx.obj
    app.render.text(command_of(ctx.find_root(), words).get_help())


def command_of(root: click.Context, words: tuple[str, ...]) -> click.Context:
    """The context of the command that `words` name. Raises UsageError, as their use would, if there is none."""
    context = root
    for word in words:
        group = context.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{context.command_path} has no command {word!r}", context)
        _, found, _ = group.resolve_command(context, [word])
        assert found is not None  # noqa: S101 - or it has raised
        context = click.Context(found, parent=context, info_name=word)
    return context
