"""Run the commands that do the work of operations again."""

import os
from collections.abc import Sequence
from contextlib import ExitStack, chdir
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import confirm, note_template
from mgmt.cli.render import Column
from mgmt.cli.requests import words_for
from mgmt.errors import MgmtError, NotFoundError, PartialError, RefusedError
from mgmt.words import shell_word

if TYPE_CHECKING:
    from mgmt.services.steps.repeats import Repeat

PLAN = (Column("COMMAND", "command_line", "long"), Column("REPEATS", "repeats", "long", leaves=1))


def to_run_here(app: App, commands: "Sequence[Repeat]") -> "list[Repeat]":
    """Those of `commands` that nothing follows; a note names the others. Raises RefusedError if something follows all.

    What follows waits for a requested operation, so only a request brings it back.
    """
    followed = [each for each in commands if each.then]
    refused = [
        RefusedError(
            f"{each.command} {', '.join(each.names)} is followed by {', '.join(each.then)}, which only workers run",
            next_step=f"mgmt retry --later {' '.join(sorted(set(each.repeats.values())))}",
        )
        for each in followed
    ]
    if refused and len(followed) == len(commands):
        raise refused[0]
    for error in refused:
        app.progress.note(f"note: {error.message}: {error.next_step}")
    return [each for each in commands if not each.then]


def run_all(ctx: click.Context, commands: "Sequence[Repeat]") -> None:
    """Run `commands` one after the other, as the command line would. Raises the error that stands for all of them."""
    errors: list[MgmtError] = []
    with ctx.obj.render.one_document():
        for each in commands:
            try:
                _run(ctx, each)
            except MgmtError as exc:
                if len(commands) == 1:
                    raise
                errors.append(exc)
    if len(errors) == len(commands) and len({each.exit_status for each in errors}) == 1:
        raise errors[0]
    if errors:
        raise PartialError(
            f"{len(errors)} of {len(commands)} commands failed: {errors[0].message}", next_step=errors[0].next_step
        )


def confirm_removals(commands: "Sequence[Repeat]", *, yes: bool) -> None:
    """Ask for confirmation of what `commands` would remove."""
    from mgmt.services.steps.repeats import REMOVALS

    removed = [f"{each.command} {name}" for each in commands if each.command in REMOVALS for name in each.names]
    if removed:
        confirm(f"Again {', '.join(removed[:20])}{', ...' if len(removed) > 20 else ''}?", yes=yes)


def show(ctx: click.Context, commands: "Sequence[Repeat]", *, empty: str) -> None:
    """Print the command lines that `run_all` would run."""
    app: App = ctx.obj
    app.render.many([_row(ctx, each) for each in commands], PLAN, empty=empty)


def request_all(ctx: click.Context, commands: "Sequence[Repeat]", when: dict[str, Any]) -> None:
    """Let a worker run `commands`; print the ids of the new operations."""
    from mgmt.services.retry import later
    from mgmt.services.steps.requests import When

    app: App = ctx.obj
    wanted = When(not_before=when["at"], after=when["after"], queue=when["queue"])
    made = later(commands, wanted, app.attempts(), app.catalog)
    if app.render.for_people:
        for operation in made:
            app.render.line(operation.operation_id)
        app.progress.note("note: they will be run by: mgmt worker")
    else:
        app.render.many(made, ())


def _run(ctx: click.Context, repeat: "Repeat") -> None:
    app: App = ctx.obj
    app.repeat(repeat.repeats, store=repeat.store, completed_dir=repeat.completed_dir)
    with ExitStack() as stack:
        if repeat.folder is not None and (repeat.command != "verify" or os.path.isdir(repeat.folder)):
            try:
                stack.enter_context(chdir(repeat.folder))
            except OSError as exc:
                raise NotFoundError(f"the folder {repeat.folder} cannot be entered: {exc.strerror}") from exc
        chosen = _command(ctx, repeat)
        words = words_for(chosen, repeat.arguments, repeat.names)
        with chosen.make_context(repeat.command, words, parent=ctx.find_root()) as context:
            note_template(context, repeat.arguments.get("template"))
            chosen.invoke(context)


def _command(ctx: click.Context, repeat: "Repeat") -> click.Command:
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)  # noqa: S101 - it is `mgmt` itself
    chosen = root.command.get_command(root, repeat.command)
    assert chosen is not None  # noqa: S101 - the service knows which commands there are
    return chosen


def _row(ctx: click.Context, repeat: "Repeat") -> dict[str, object]:
    words = words_for(_command(ctx, repeat), repeat.arguments, repeat.names)
    store = ["--store", repeat.store] if repeat.store is not None else []
    line = " ".join(shell_word(each) for each in ["mgmt", *store, repeat.command, *words])
    if repeat.folder is not None:
        line = f"cd {shell_word(repeat.folder)} && {line}"
    return {"type": "repeat", "command_line": line, "repeats": sorted(set(repeat.repeats.values()))}
