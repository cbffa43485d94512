"""Show the outcome of each target, and fail with the error that stands for them all."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from mgmt.cli.app import App
from mgmt.cli.parameters import confirm
from mgmt.cli.render import Column, print_error
from mgmt.errors import MgmtError, ProblemError

if TYPE_CHECKING:
    from mgmt.catalog import OperationRecord, Status
    from mgmt.services.steps.batch import Outcome, Result


def show_outcomes(
    app: App,
    outcomes: "Generator[Outcome[Result], None, None]",
    columns: Sequence[Column],
    *,
    several: bool,
    sentences: "Callable[[Result], list[str]] | None" = None,
) -> None:
    """Print each outcome as it arrives. Raises the error that stands for them if not everything was done."""

    def row(outcome: "Outcome[Result]") -> object:
        if outcome.record is not None:
            for line in sentences(outcome.record) if sentences else ():
                app.render.line(line)
        elif outcome.error is not None and several and app.render.for_people:
            print_error(_named(outcome.target, outcome.error), outcome.error.next_step)
        return outcome.record or _as_row(outcome)

    _show(app, outcomes, columns, row)


def show_previews(
    app: App,
    targets: Sequence[str],
    preview: "Callable[[str], Result]",
    columns: Sequence[Column],
    *,
    sentences: "Callable[[Result], list[str]] | None" = None,
) -> None:
    """Print what would be done with each target. Raises the error that the command itself would end with."""
    from mgmt.services.steps.batch import preview_each

    def row(outcome: "Outcome[Result]") -> object:
        if outcome.record is not None:
            for line in sentences(outcome.record) if sentences else ():
                app.render.line(line)
        if outcome.error is None or not app.render.for_people:
            return outcome.record or _as_row(outcome)
        if len(targets) > 1:
            print_error(_named(outcome.target, outcome.error), outcome.error.next_step)
        return None

    _show(app, preview_each(targets, preview), columns, row)


def _show(
    app: App,
    outcomes: "Generator[Outcome[Result], None, None]",
    columns: Sequence[Column],
    row: "Callable[[Outcome[Result]], object]",
) -> None:
    """Print the row of each outcome that has one. Raises the error that stands for all of them."""
    from mgmt.services.steps.batch import verdict

    seen: list[Outcome[Result]] = []

    def rows() -> Iterator[object]:
        for outcome in outcomes:
            seen.append(outcome.without_record())
            if (found := row(outcome)) is not None:
                yield found

    with closing(outcomes):  # if the reader of our output has gone, the remaining targets are not started
        app.render.many(rows(), columns, empty=None)
    if not seen and app.render.for_people:
        app.progress.note("nothing to do")
    if (error := verdict(seen)) is not None:
        raise error


def confirm_existing(
    targets: Sequence[str],
    look_up: "Callable[[str], Result]",
    question: "Callable[[list[Result]], str]",
    *,
    yes: bool,
) -> None:
    """Ask for confirmation of what `look_up` finds. What it does not find will fail, and needs no question."""
    from mgmt.services.steps.batch import preview_each

    if yes:
        return
    found = [each.record for each in preview_each(targets, look_up) if each.record is not None]
    if found:
        confirm(question(found), yes=yes)


def _named(target: str, error: MgmtError) -> str:
    """The message of `error`, which names the target."""
    names_it = error.message.startswith((target, os.path.abspath(target)))
    return error.message if names_it else f"{target}: {error.message}"


def _as_row(outcome: "Outcome[Result]") -> dict[str, object] | None:
    """A target that failed, as a result."""
    if (error := outcome.error) is None:
        return None
    return {
        "type": "error",
        "target_path": outcome.target,
        "target_name": outcome.target,
        "status": "failed",
        "error_message": error.message,
        "error": {"class": type(error).__name__, "retryable": error.retryable, "next": error.next_step},
        **({"problem": error.problem} if isinstance(error, ProblemError) else {}),
    }


def skipped(target: str, status: "Status | None", message: str | None) -> list[str]:
    """The line for people about a target that was skipped because of `--on-conflict skip`, and why."""
    if status != "cancelled" or message is None:
        return []
    return [f"skipped   {target}: {message.removeprefix('skipped: ')}"]


def left_out(record: "OperationRecord") -> list[str]:
    """The lines for people about what an operation has left out, up to twenty."""
    return [f"left out  {each['path']}: {each['reason']}" for each in record.details.get("skipped", [])[:20]]
