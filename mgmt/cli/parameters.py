"""What commands have in common: base classes, types of parameters, shared options, and confirmation."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from mgmt.config import parse_duration, parse_size
from mgmt.errors import Interrupted, RefusedError
from mgmt.shown import safe

_TEMPLATE = "mgmt.template"
"""Where the defaults of a context keep the name of the template that they come from."""


class Command(click.Command):
    """A command that refuses empty arguments and option values, such as `mgmt upload "$UNSET"`.

    Every command of mgmt is one (or a `Group`), so no command has to check for empty values.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as Click does. Raises EmptyWordError before any value is converted, let alone a file opened."""
        _refuse_empty(self, ctx, args)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group that refuses empty values, as do its commands."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `Command.parse_args`."""
        _refuse_empty(self, ctx, args)
        return super().parse_args(ctx, args)


class EmptyWordError(click.UsageError):
    """An argument or option value is an empty string."""


def _refuse_empty(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    if "" not in args and not any(word.endswith("=") for word in args):
        return
    given, _, _ = command.make_parser(ctx).parse_args(list(args))
    for parameter in command.params:
        value = given.get(parameter.name or "")
        if value == "" or (isinstance(value, list | tuple) and "" in value):
            hint = _as_typed(parameter, ctx)
            raise EmptyWordError(f"{hint} is an empty string; is a variable unset?", ctx)


def _as_typed(parameter: click.Parameter, ctx: click.Context) -> str:
    """The name of a parameter in a message: an argument without the marks that it may be left out or repeated."""
    if isinstance(parameter, click.Argument):
        return (parameter.metavar or str(parameter.name).upper()).strip("[].")
    return parameter.get_error_hint(ctx)


def expand_from_environment(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Click callback: expand `~` in a value from the environment; on the command line, the shell has done so."""
    source = ctx.get_parameter_source(parameter.name or "")
    if value is None or source is None or source.name != "ENVIRONMENT":
        return value
    return os.path.expanduser(value)


class Duration(click.ParamType[timedelta]):
    """A length of time, such as `30d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return `value` as a timedelta."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except (ValueError, OverflowError) as exc:
            self.fail(str(exc), param, ctx)


class Moment(click.ParamType[datetime]):
    """A point in time: a date, an RFC 3339 time, or a duration before now. Without a zone it is local time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return `value` as an aware datetime."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) - parse_duration(value)
        except (ValueError, OverflowError):
            pass
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2026-01-31, 2026-01-31T12:00:00Z or 7d", param, ctx)


class Size(click.ParamType[int]):
    """A number of bytes, such as `8M`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return `value` as a number of bytes."""
        try:
            size = value if isinstance(value, int) else parse_size(value)
        except ValueError:
            self.fail(f"{value!r} is not a size such as 800k or 8M", param, ctx)
        if size <= 0:
            self.fail(f"{value!r} must be positive", param, ctx)
        return size


def as_tags(_ctx: click.Context, _param: click.Parameter, values: Iterable[str]) -> dict[str, str]:
    """Click callback: `K=V`, any number of times."""
    tags = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not key or not separator:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE")
        tags[key] = text
    return tags


Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def options(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Combine several shared options into one decorator."""

    def apply(command: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


period = options(
    click.option(
        "--since", type=Moment(), metavar="TIME", help="Start of the period: 2026-01-31, or 7d for a week ago."
    ),
    click.option("--until", type=Moment(), metavar="TIME", help="End of the period, exclusive."),
)
host = click.option(
    "--host", metavar="NAME", help="Include local files of this host, or '*' for all hosts.  [default: this host]"
)
limit = click.option(
    "--limit",
    type=click.IntRange(1, 2**31 - 1),
    default=50,
    show_default=True,
    metavar="N",
    help="Maximum number of results.",
)
dry_run = click.option("-n", "--dry-run", is_flag=True, help="Print what would happen; change nothing.")
yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def tag(help: str) -> Callable[[Decorated], Decorated]:  # noqa: A002 - as Click calls it
    """The option `--tag`, which may be repeated."""
    return click.option("--tag", "tags", multiple=True, callback=as_tags, metavar="KEY=VALUE", help=help)


def chosen_host(given: str | None) -> str | None:
    """The host that the option `--host` selects; None for all hosts."""
    from mgmt.services.steps.local_files import host

    return None if given == "*" else given or host()


def given(ctx: click.Context, allowed: Iterable[str]) -> dict[str, object]:
    """The options among `allowed` that the user gave, for the record, and the template that some come from.

    A list, so that no secret is recorded.
    """
    template = (ctx.default_map or {}).get(_TEMPLATE)
    chosen = {"template": template} if template is not None else {}
    for name in allowed:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP"):
            value = ctx.params[name]
            chosen[name] = value if isinstance(value, bool | int | float | str | dict | None) else _text(value)
    return chosen


def note_template(ctx: click.Context, name: object) -> None:
    """Let the record of the command of `ctx` say that options come from the template called `name`, if any does."""
    if name is not None:
        ctx.default_map = {**(ctx.default_map or {}), _TEMPLATE: name}


def _text(value: object) -> object:
    if isinstance(value, timedelta):
        return f"{int(value.total_seconds())}s"  # as the option takes it
    return [str(each) for each in value] if isinstance(value, list | tuple) else str(value)


@contextmanager
def asking() -> Iterator[None]:
    """Let Ctrl-C at a question of Click be an interruption, as it is anywhere else, and not an error of its own."""
    try:
        yield
    except click.Abort as abort:
        interruption = abort.__context__
        if not isinstance(interruption, KeyboardInterrupt):  # the end of the input
            interruption = Interrupted(signal.SIGINT)
        raise interruption from None


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation. Raises RefusedError if the answer is no, or if there is no terminal to ask on."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(f"no terminal to confirm on: {question}", next_step="run the same command with --yes")
    with asking():
        confirmed = click.confirm(safe(question), err=True)
    if not confirmed:
        raise RefusedError("not confirmed; nothing was done")
