"""Several targets: a parent operation and a child for each; one that fails does not stop the others."""

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mgmt.catalog import BatchRecord, OperationRecord, Status
from mgmt.errors import CatalogError, IntegrityError, MgmtError, PartialError, Problem, ProblemError
from mgmt.services.steps.context import Context
from mgmt.signals import may_stop

logger = logging.getLogger(__name__)
Record = TypeVar("Record", bound=OperationRecord)
Result = TypeVar("Result")

LISTED = 100
"""Targets that the record of a batch lists as left."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """How one target ended, or would end: with a record or a preview, or with an error."""

    target: str
    record: Result | None = None
    error: MgmtError | None = None
    partial: str | None = None
    """What of the target was not done; None if all of it was, or none."""
    batch: str | None = None
    """The id of the batch that it belongs to."""

    @property
    def is_done(self) -> bool:
        """Whether everything was done. Skipping what one was asked to skip counts as done."""
        return self.error is None and self.partial is None


def run_batch(
    targets: Sequence[str],
    work: Callable[[str, Context], Record],
    context: Context,
    *,
    name: str,
    unrecorded: Callable[[CatalogError], None] | None = None,
) -> Generator[Outcome[Record], None, None]:
    """Run `work(target, context)` for each target and yield each outcome as it happens.

    A single target has no parent. Several have one, called `name`, which ends as success, partial or failed; until then
    it lists what is left, also if the process is killed. Without targets there is nothing to record. What happens if it
    cannot be recorded is up to `unrecorded` (`Journal.record`).
    """
    if len(targets) < 2:
        for target in targets:
            yield _attempt(target, lambda each: work(each, context))
        return
    batch = BatchRecord(target_path=name, target_name=name, command_args=dict(context.command_args))
    batch.details = _progress(targets, [], targets)
    with context.catalog.journal.record(batch, unrecorded=unrecorded):
        outcomes: list[Outcome[Record]] = []
        within = context.within(batch.operation_id)
        for number, target in enumerate(targets):
            may_stop()
            left = [each.target for each in outcomes if not each.is_done]
            batch.details = _progress(targets, left, targets[number:])  # committed as the next operation begins
            outcome = _attempt(target, lambda each: work(each, within), batch.operation_id)
            outcomes.append(outcome)
            yield outcome
        left = [each.target for each in outcomes if not each.is_done]
        batch.details = _progress(targets, left, ())
        if left:
            batch.status = Status.PARTIAL if len(left) < len(targets) else Status.FAILED
            batch.error_message = _summary(outcomes)


def preview_each(targets: Iterable[str], work: Callable[[str], Result]) -> Generator[Outcome[Result], None, None]:
    """Yield what `work(target)` says would be done with each target, or the error that it would end with."""
    for target in targets:
        yield _attempt(target, work)


def _progress(targets: Sequence[str], undone: Sequence[str], to_come: Sequence[str]) -> dict[str, object]:
    """The details of a batch. Only the first of what is left are listed: there may be very many."""
    left = [*undone[:LISTED], *to_come[:LISTED]][:LISTED]
    done = len(targets) - len(undone) - len(to_come)
    return {"targets": len(targets), "done": done, **({"left": left} if left else {})}


def _attempt(target: str, work: Callable[[str], Result], batch: str | None = None) -> Outcome[Result]:
    try:
        record = work(target)
    except MgmtError as exc:
        return Outcome(target, error=exc, batch=batch)
    except OSError as exc:
        return Outcome(target, error=MgmtError(describe_os_error(exc)), batch=batch)
    except Exception as exc:  # a bug, which must not keep the other targets from being done
        logger.info("unexpected error with %s", target, exc_info=True)
        what = f"unexpected {type(exc).__name__}: {exc}"
        unexpected = MgmtError(what, next_step="mgmt -v ...\n# shows where; please report it")
        return Outcome(target, error=unexpected, batch=batch)
    is_partial = getattr(record, "status", None) == Status.PARTIAL
    message = str(getattr(record, "error_message", "")) if is_partial else None
    return Outcome(target, record=record, partial=message, batch=batch)


def describe_os_error(error: OSError) -> str:
    """What the system refused, in one line: a full disk, a missing permission, a disk that cannot be read."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def verdict(outcomes: Sequence[Outcome[Result]]) -> MgmtError | None:
    """The error that sums up all outcomes; None when everything was done.

    For one target its own error. For several: that problems were found, or the error that all share, or PartialError
    when anything was done.
    """
    undone = [each for each in outcomes if not each.is_done]
    if not undone:
        return None
    if len(outcomes) == 1:
        (only,) = outcomes
        return only.error or PartialError(f"{only.target}: {only.partial}")
    errors = [each.error for each in undone if each.error is not None]
    problems = Counter(error.problem.value for error in errors if isinstance(error, ProblemError))
    if problems:
        counts = ", ".join(f"{count} {problem}" for problem, count in problems.items())
        total = problems.total()
        found = "1 problem was found" if total == 1 else f"{total} problems were found"
        steps = {error.next_step for error in errors if isinstance(error, ProblemError)}
        only_unknown = set(problems) == {Problem.UNKNOWN.value}
        several = (
            "mgmt db rebuild\n# for what is not an archive: mgmt ignore KEY"
            if only_unknown
            else "mgmt verify NAME\n# it says how to mend that one"
        )
        return IntegrityError(f"{found}: {counts}", next_step=steps.pop() if len(steps) == 1 else several)
    summary = _summary(outcomes)
    if len(errors) == len(outcomes) and len({error.exit_status for error in errors}) == 1:
        return type(errors[0])(f"{summary}: {errors[0].message}", next_step=errors[0].next_step)
    batch = undone[0].batch
    next_step = f"mgmt status {batch}\n# what is left" if batch is not None else None
    kind = MgmtError if len(errors) == len(outcomes) else PartialError
    return kind(summary, next_step=next_step)


def _summary(outcomes: Sequence[Outcome[Result]]) -> str:
    """`2 of 5 targets failed, 1 is partial`."""
    failed = sum(each.error is not None for each in outcomes)
    partial = sum(each.partial is not None for each in outcomes)
    of_all = f" of {len(outcomes)} targets"
    parts = [f"{failed}{of_all} failed"] if failed else []
    if partial:
        parts.append(f"{partial}{'' if failed else of_all} {'is' if partial == 1 else 'are'} partial")
    return ", ".join(parts)
