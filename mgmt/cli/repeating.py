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

PLAN = (
    Column("COMMAND", "command_line", "long"),
    Column("REPEATS", "repeats", "long", leaves=1),
    Column("AFTER", "after", "long", leaves=2),
)


def to_run_here(app: App, commands: "Sequence[Repeat]") -> "list[Repeat]":
    """Those of `commands` that nothing follows, and that follow nothing; a note names the others.

    What follows waits for a requested operation, so only a request brings it back. Raises RefusedError if none is left.
    """
    refused = [error for each in commands if (error := _in_order_only(each, commands)) is not None]
    here = [each for each in commands if not each.after and not _followers(each, commands)]
    if refused and not here:
        raise refused[0]
    for error in refused:
        app.progress.note(f"note: {error.message}: {error.next_step}")
    return here


def _in_order_only(repeat: "Repeat", commands: "Sequence[Repeat]") -> RefusedError | None:
    """Why workers alone can run `repeat`; None if nothing follows it, or if it follows another of `commands`."""
    followers = _followers(repeat, commands)
    repeated = {operation for each in commands for operation in (*each.repeats.values(), *each.parts_of)}
    if followers:
        why = f"is followed by {', '.join(followers)}, which only workers run"
    elif waits_for := [each for each in repeat.after if each not in repeated]:
        why = f"waits for {', '.join(waits_for)}, as only workers do"
    else:
        return None
    return RefusedError(
        f"{repeat.command} {', '.join(repeat.names)} {why}",
        next_step=f"mgmt retry --later {' '.join(sorted(set(repeat.repeats.values())))}",
    )


def _followers(repeat: "Repeat", commands: "Sequence[Repeat]") -> list[str]:
    """The commands that follow `repeat`."""
    followed_by = (each for some in repeat.followed_by.values() for each in some)
    own = {*repeat.repeats.values(), *repeat.parts_of, *followed_by}
    after = [" ".join([each.command, *each.names]) for each in commands if own.intersection(each.after)]
    return [*repeat.then, *after]


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
        app.progress.note(f"note: mgmt worker runs {'it' if len(made) == 1 else 'them'}")
    else:
        app.render.many(made, ())


def _run(ctx: click.Context, repeat: "Repeat") -> None:
    app: App = ctx.obj
    app.repeat(repeat.repeats, repeat.meant, store=repeat.store, completed_dir=repeat.completed_dir)
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
    then = [f"--then={each}" for each in repeat.then]
    line = " ".join(shell_word(each) for each in ["mgmt", *store, repeat.command, *then, *words])
    if repeat.folder is not None:
        line = f"cd {shell_word(repeat.folder)} && {line}"
    repeats = sorted({*repeat.repeats.values(), *(each for some in repeat.followed_by.values() for each in some)})
    return {"type": "repeat", "command_line": line, "repeats": repeats, "after": list(repeat.after)}
