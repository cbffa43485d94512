"""The command of a schedule: parsed when it is added and each time that it is due, never executed otherwise."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from mgmt.catalog import ScheduleRecord
from mgmt.cli.requests import names_of, request_of
from mgmt.errors import ConfigurationError, NotFoundError
from mgmt.services.steps.requests import KINDS, Request, When

_OF_THE_SCHEDULE = ("later", "at", "after", "queue")
"""Options of a command to run later: when a scheduled one runs, and from which queue, is up to its schedule."""


def requests_on(root: click.Context) -> Callable[[ScheduleRecord], Request]:
    """What makes the request of a schedule, for the `mgmt` that runs as `root`."""

    def request(schedule: ScheduleRecord) -> Request:
        with _in_folder(schedule.cwd), parsed(schedule.command, root) as ctx:
            when = When(queue=schedule.queue, then=ctx.params.get("then") or ())
            return request_of(ctx, names_of(ctx), when, schedule.store)

    return request


@contextmanager
def parsed(words: Sequence[str], root: click.Context) -> Iterator[click.Context]:
    """The context of the command `words`, as if it had been typed; nothing of it runs.

    Raises ConfigurationError if it is not a command that can run later, or one that a schedule cannot have.
    """
    name, *arguments = words or [""]
    command = root.command.get_command(root, name) if isinstance(root.command, click.Group) and name in KINDS else None
    if command is None:
        raise ConfigurationError(
            f"{name!r} cannot run on a schedule: {', '.join(KINDS)} can",
            next_step='mgmt schedule add NAME "0 2 * * *" -- upload PATH',
        )
    try:
        # --help would print something, and end.
        ctx = command.make_context(name, list(arguments), parent=root, help_option_names=[])
    except click.UsageError as exc:
        message = " ".join(exc.format_message().split())
        raise ConfigurationError(f"{name}: {message}", next_step=f"mgmt {name} --help") from exc
    with ctx:
        for option in _OF_THE_SCHEDULE:
            if ctx.params.get(option):
                raise ConfigurationError(
                    f"a scheduled command cannot have --{option}", next_step="mgmt schedule add --help"
                )
        listed = ctx.params.get("files_from")
        if listed is not None and listed.name == getattr(sys.stdin, "name", None):
            raise ConfigurationError("a scheduled command has no input to read", next_step="--files-from FILE")
        yield ctx


@contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    """Relative names are meant in the folder that the schedule was made in. Raises NotFoundError if that is gone."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(contextlib.chdir(folder))
        except OSError as exc:
            raise NotFoundError(
                f"the folder {folder}, in which the schedule was made, cannot be entered: {exc.strerror}",
                next_step="make the schedule again, in another folder",
            ) from exc
        yield
