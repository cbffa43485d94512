"""Show the outcome of each target, and fail with the error that stands for them all."""

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
    sentences: "Callable[[OperationRecord], list[str]] | None" = None,
) -> None:
    """Print each outcome as it arrives. Raises the error that stands for them if not everything was done."""
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

    with closing(outcomes):  # if the reader of our output has gone, the remaining targets are not started
        app.render.many(shown(), columns, empty="nothing to do")
    if (error := verdict(seen)) is not None:
        raise error


def left_out(record: "OperationRecord") -> list[str]:
    """The lines for people about what an operation has left out, up to twenty."""
    return [f"left out  {each['path']}: {each['reason']}" for each in record.details.get("skipped", [])[:20]]
