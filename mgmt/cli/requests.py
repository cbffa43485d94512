"""Commands that can run later: their options, and the words of a requested command."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.parameters import confirm, given, options
from mgmt.cli.templates import with_template
from mgmt.config import parse_duration
from mgmt.errors import ConfigurationError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from mgmt.cli.app import App
    from mgmt.services.run import Requested
    from mgmt.services.steps.requests import Request, When

FOLLOWING = ("verify", "free")
"""The commands that can follow an upload."""


class Future(click.ParamType[datetime]):
    """A point in time to come: a date and time, a time of day, or `+2h`. Without a zone it is local time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return `value` as an aware datetime."""
        if isinstance(value, datetime):
            return value
        try:
            if value.startswith("+"):
                return datetime.now(UTC) + parse_duration(value[1:])
            if ":" in value and "-" not in value:
                return _next(time.fromisoformat(value))
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 22:00, 2027-01-31T12:00 or +2h", param, ctx)


def _next(at: time) -> datetime:
    """The next time that a clock on the wall shows `at`."""
    now = datetime.now().astimezone()
    today = datetime.combine(now.date(), at).astimezone(at.tzinfo)
    return (today if today > now else datetime.combine(now.date() + timedelta(days=1), at).astimezone()).astimezone(UTC)


_WHEN = (
    click.option("--later", is_flag=True, help="Do not run it now: let `mgmt worker` run it."),
    click.option("--at", type=Future(), metavar="TIME", help="Run it later, not before TIME: 22:00, 2027-01-31, +2h."),
    click.option("--after", multiple=True, metavar="ID", help="Run it later, when operation ID has succeeded."),
    click.option("--queue", metavar="NAME", help="Run it later, from this queue.  [default: that of this machine]"),
)
_THEN = click.option(
    "--then",
    multiple=True,
    type=click.Choice(FOLLOWING),
    help="Run it later, and then this command on the archive; may be repeated.",
)


Check = Callable[[Sequence[str], Mapping[str, Any]], None]
"""Raises ConfigurationError for targets and options of a command that do not go together, now or later."""


def requestable(
    recorded: Sequence[str], check: Check = lambda _names, _values: None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options to run later. `recorded` are the options that it can have then.

    What `check` refuses is refused when it is requested or scheduled, as it is when it runs.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def run_or_request(*arguments: Any, **values: Any) -> Any:
            ctx = click.get_current_context()
            when = {name: values.pop(name, None) for name in ("later", "at", "after", "queue", "then")}
            if any(when.values()):
                return _request(ctx, when)
            check(values.get("names") or values.get("paths") or (), values)
            return command(*arguments, **values)

        update_wrapper(run_or_request, command)
        run_or_request.recorded, run_or_request.check = recorded, check  # type: ignore[attr-defined]
        return options(*_WHEN, with_template)(run_or_request)

    return decorate


then = _THEN
when = options(*_WHEN)


def _request(ctx: click.Context, when: Mapping[str, Any]) -> None:
    from mgmt.services.steps.requests import When, enqueue

    app: App = ctx.obj
    command = str(ctx.info_name)
    names = names_of(ctx)
    if command == "upload" and not when["at"] and not when["after"]:
        _refuse_missing(names)
    if ctx.params.get("keep") and "free" in (when["then"] or ()):
        next_step = "mgmt upload PATH --keep"
        raise ConfigurationError("--keep makes no copy that --then free could free", next_step=next_step)
    if "yes" in ctx.params:
        confirm(f"Let {command} {' '.join(names) or 'all'} run later?", yes=bool(ctx.params["yes"]))
    chosen = When(not_before=when["at"], after=when["after"], queue=when["queue"], then=when["then"] or ())
    made = enqueue(request_of(ctx, names, chosen, store=store_of(ctx)), app.catalog)
    if app.render.for_people:
        for operation in made:
            app.render.line(operation.operation_id)
        app.progress.note(f"note: mgmt worker runs {'it' if len(made) == 1 else 'them'}")
    else:
        app.render.many(made, ())


def request_of(ctx: click.Context, names: Sequence[str], when: "When", store: str | None) -> "Request":
    """The request to run the command of `ctx`, as parsed, on `names`."""
    from mgmt.services.steps.request_arguments import ARCHIVES, TEMPLATE
    from mgmt.services.steps.requests import Request

    recorded: Sequence[str] = getattr(ctx.command.callback, "recorded", ())
    arguments = given(ctx, [name for name in recorded if name not in ("files_from", "null")])
    template = arguments.get(TEMPLATE)
    if ctx.info_name == "delete":
        from mgmt.services.delete import identities

        arguments[ARCHIVES] = meant = identities(names, ctx.obj.context(), purge=bool(ctx.params.get("purge")))
        names = list(meant)
    elif ctx.info_name == "free":
        from mgmt.services.free import meant_copies

        names = meant_copies(names, ctx.obj.context())
    return Request(
        command=str(ctx.info_name),
        names=names,
        arguments=arguments,
        when=when,
        attempts=ctx.obj.attempts(),
        store=store,
        template=str(template) if template is not None else None,
    )


def store_of(ctx: click.Context) -> str | None:
    """The store that the command of `ctx` has to use later, whatever is configured then."""
    app: App = ctx.obj
    return app.settings.store_url() if ctx.info_name == "upload" else app.settings.store


def names_of(ctx: click.Context) -> list[str]:
    """The targets that the command line and a list name; an option may choose others when the command runs.

    Raises ConfigurationError if there is nothing to run later.
    """
    from mgmt.services.steps.requests import CHOICES
    from mgmt.services.steps.targets import read_list

    if ctx.params.get("dry_run"):
        next_step = f"mgmt {ctx.info_name} -n ..."
        raise ConfigurationError("--dry-run shows what would happen now, not later", next_step=next_step)
    found = [*ctx.params.get("paths", ()), *ctx.params.get("names", ())]
    listed = ctx.params.get("files_from")
    if listed is not None:
        found += read_list(listed.read(), nul=ctx.params["null"], name=listed.name)
    if ctx.params.get("is_ready"):
        raise ConfigurationError(
            "--ready downloads what can be read when it is typed, and cannot run later or on a schedule",
            next_step="mgmt download NAME --later\n# which waits until NAME can be read; or: mgmt restore --ready",
        )
    chosen = [name for name in CHOICES if ctx.params.get(name)]
    if not found and not chosen and listed is None:
        raise ConfigurationError("nothing was named to work on", next_step=f"{ctx.command_path} --help")
    if (check := getattr(ctx.command.callback, "check", None)) is not None:
        check(found, ctx.params)
    return found


def _refuse_missing(names: Sequence[str]) -> None:
    for each in names:
        if not os.path.lexists(each):
            raise NotFoundError(f"there is no file or folder {each}", next_step="mgmt upload PATH --later")


def words_of(requested: "Requested", command: click.Command) -> list[str]:
    """The arguments of the requested `command`. Raises RefusedError for an option that it cannot have later."""
    allowed = getattr(command.callback, "recorded", ())
    for name in requested.options:
        if name not in allowed or name not in {each.name for each in command.params}:
            raise RefusedError(
                f"operation {requested.operation.operation_id} was requested with {name!r}, which cannot run later",
                next_step=f"mgmt cancel {requested.operation.operation_id}",
            )
    return words_for(command, requested.options, requested.names)


def words_for(command: click.Command, values: Mapping[str, object], names: Sequence[str]) -> list[str]:
    """The arguments of `command` with these values of its options, and these targets; it asks nothing."""
    by_name = {each.name: each for each in command.params if isinstance(each, click.Option)}
    last = [each.name for each in command.params if isinstance(each, click.Argument) and each.name in values]
    # A template may have changed since; what it resolved to is among the values.
    chosen = {name: value for name, value in values.items() if name != "template"}
    words = [word for name, value in chosen.items() if name in by_name for word in _words(by_name[name], value)]
    following = [str(word) for name in last for word in _several(values[str(name)])]
    if "yes" in by_name:
        words.append("--yes")
    return [*words, "--", *names, *following] if names else words


def _several(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def _words(option: click.Option, value: object) -> list[str]:
    word = max(option.opts, key=len)
    if option.is_flag:
        return [word] if value else option.secondary_opts[:1]
    if isinstance(value, Mapping):
        return [f"{word}={key}={text}" for key, text in value.items()]
    return [f"{word}={each}" for each in _several(value)]
