"""Showing what became of several targets, and ending with the status that says it."""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from mgmt.cli.app import App
from mgmt.cli.render import Column, safe
from mgmt.errors import ProblemError

if TYPE_CHECKING:
    from mgmt.catalog import OperationRecord
    from mgmt.services.steps.batch import Outcome, Record


def show_outcomes(
    app: App,
    outcomes: "Generator[Outcome[Record], None, None]",
    columns: Sequence[Column],
    *,
    several: bool,
    empty: str = "nothing to do",
    sentences: "Callable[[OperationRecord], list[str]] | None" = None,
) -> None:
    """Print each outcome; raise the error that stands for them when not everything was done."""
    from mgmt.services.steps.batch import verdict

    seen: list[Outcome[Record]] = []

    def shown() -> Iterator[object]:
        for outcome in outcomes:
            seen.append(outcome)
            if outcome.record is not None:
                for line in sentences(outcome.record) if sentences else ():
                    app.render.line(line)
                yield outcome.record
            elif outcome.error is not None:
                if several and app.render.for_people:
                    print(f"mgmt: {safe(outcome.target)}: {safe(outcome.error.message)}", file=sys.stderr)
                yield {
                    "type": "error",
                    "target_path": outcome.target,
                    "target_name": outcome.target,
                    "status": "failed",
                    "error_message": outcome.error.message,
                    "error": {
                        "class": type(outcome.error).__name__,
                        "retryable": outcome.error.retryable,
                        "next": outcome.error.next_step,
                    },
                    **({"problem": outcome.error.problem} if isinstance(outcome.error, ProblemError) else {}),
                }

    with closing(outcomes):  # when whoever reads our output has gone, what is left to do ends now
        app.render.many(shown(), columns, empty=empty)
    if (error := verdict(seen)) is not None:
        raise error
