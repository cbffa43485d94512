"""The option `--template`: options of a command from the configuration file."""

from collections.abc import Mapping
from datetime import date, time

import click

from mgmt.cli.parameters import Decorated, note_template
from mgmt.errors import ConfigurationError

_NEVER = ("template", "help")
"""Options that no template can have."""


def with_template(command: Decorated) -> Decorated:
    """Give a command the option `--template`. What is on the command line wins."""
    return click.option(
        "--template",
        metavar="NAME",
        is_eager=True,
        expose_value=False,
        callback=_apply,
        help="Take options from this template of the configuration file.",
    )(command)


def _apply(ctx: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    if name is None:
        return
    from mgmt.templates import resolved

    template = resolved(name, ctx.obj.config_file)
    ctx.default_map = {
        **(ctx.default_map or {}),
        **dict(_given(ctx, each.name, each.value, each.template) for each in template.options.values()),
    }
    note_template(ctx, name)


def _given(ctx: click.Context, name: str, value: object, template: str) -> tuple[str, object]:
    """The parameter that the option `name` of a template sets, and its value as the command line would give it.

    Raises ConfigurationError if the command has no such option, or the option takes no such value.
    """
    option = _options(ctx.command).get(name) if name not in _NEVER else None
    if option is None or option.name is None:
        raise _unknown(ctx, name, template)
    try:
        typed = _typed(option, value)
        if not isinstance(option.type, click.File):  # which would be opened
            option.process_value(ctx, typed)
    except (click.BadParameter, _TypeError) as exc:
        message = exc.message if isinstance(exc, click.BadParameter) else str(exc)
        raise ConfigurationError(
            f"template {template!r}: --{name}: {' '.join(message.split())}",
            next_step=f"mgmt config template show {template}",
        ) from exc
    return option.name, typed


class _TypeError(ValueError):
    """A value of a type that the option does not take."""


def _typed(option: click.Option, value: object) -> object:
    """`value` of the configuration file as Click takes it. Raises _TypeError."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise _TypeError("must be true or false")
        return value
    if value is True and isinstance(option.flag_value, str):  # an option whose value can be left out
        return option.flag_value
    if isinstance(value, Mapping) and option.multiple:
        return [f"{key}={_text(each)}" for key, each in value.items()]
    if isinstance(value, list):
        if not option.multiple:
            raise _TypeError("takes one value, not a list")
        return [_text(each) for each in value]
    return [_text(value)] if option.multiple else _text(value)


def _text(value: object) -> str:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _TypeError(f"{value!r} is not a value of it")
    if value == "":
        raise _TypeError("is an empty string")
    return str(value)


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by their long names, without the two dashes."""
    return {
        max(each.opts, key=len).removeprefix("--"): each for each in command.params if isinstance(each, click.Option)
    }


def _unknown(ctx: click.Context, name: str, template: str) -> ConfigurationError:
    import difflib

    from mgmt.services.steps.requests import KINDS

    root = ctx.find_root()
    others = [
        each
        for each in KINDS
        if isinstance(root.command, click.Group)
        and (command := root.command.get_command(root, each)) is not None
        and name in _options(command)
        and name not in _NEVER
    ]
    what = f"template {template!r}: {ctx.info_name} has no option --{name}"
    if others:
        what += f", which belongs to {', '.join(others)}"
    elif close := difflib.get_close_matches(name, _options(ctx.command), 1):
        what += f"; did you mean --{close[0]}?"
    return ConfigurationError(what, next_step=f"mgmt config template show {template}")
