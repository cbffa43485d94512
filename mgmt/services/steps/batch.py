"""Several targets: a parent operation and a child for each; one that fails does not stop the others."""

import logging
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mgmt.catalog import BatchRecord, OperationRecord, Status
from mgmt.errors import IntegrityError, MgmtError, PartialError, Problem, ProblemError
from mgmt.services.steps.context import Context
from mgmt.signals import may_stop

logger = logging.getLogger(__name__)
Record = TypeVar("Record", bound=OperationRecord)

_DONE = (Status.SUCCESS, Status.CANCELLED)  # cancelled without an error means skipped, as asked


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Record]):
    """How one target ended: with a record, or with the error that the record keeps."""

    target: str
    record: Record | None = None
    error: MgmtError | None = None


def run_batch(
    targets: Sequence[str], work: Callable[[str, Context], Record], context: Context, *, name: str
) -> Generator[Outcome[Record], None, None]:
    """Run `work(target, context)` for each target and yield each outcome as it happens.

    A single target has no parent. Several have one, called `name`, which ends as success, partial or failed.
    """
    if len(targets) == 1:
        yield _attempt(targets[0], work, context)
        return
    batch = BatchRecord(target_path=name, target_name=name, command_args=dict(context.command_args))
    with context.catalog.journal.record(batch):
        outcomes = []
        for target in targets:
            may_stop()
            outcome = _attempt(target, work, context.within(batch.operation_id))
            outcomes.append(outcome.record is not None and outcome.record.status in _DONE)
            yield outcome
        done = sum(outcomes)
        batch.details = {"targets": len(targets), "done": done}
        if done < len(targets):
            batch.status = Status.PARTIAL if done else Status.FAILED
            batch.error_message = f"{len(targets) - done} of {len(targets)} targets were not done"


def _attempt(target: str, work: Callable[[str, Context], Record], context: Context) -> Outcome[Record]:
    try:
        return Outcome(target, record=work(target, context))
    except MgmtError as exc:
        return Outcome(target, error=exc)
    except OSError as exc:
        return Outcome(target, error=MgmtError(describe_os_error(exc)))
    except Exception as exc:  # a bug, which must not keep the other targets from being done
        logger.info("unexpected error with %s", target, exc_info=True)
        what = f"unexpected {type(exc).__name__}: {exc}"
        return Outcome(target, error=MgmtError(what, next_step="mgmt -v ...   (shows where; please report it)"))


def describe_os_error(error: OSError) -> str:
    """What the system refused, in one line: a full disk, a missing permission, a disk that cannot be read."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def verdict(outcomes: Sequence[Outcome[Record]]) -> MgmtError | None:
    """The error that sums up all outcomes; None when everything was done.

    For one target its own error. For several: that problems were found, or the error that all share, or PartialError
    when anything was done.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    partial = [o.record for o in outcomes if o.record is not None and o.record.status == Status.PARTIAL]
    if len(outcomes) == 1 and errors:
        return errors[0]
    if partial and len(outcomes) == 1:
        return PartialError(f"{partial[0].target_path}: {partial[0].error_message}")
    if not errors and not partial:
        return None
    problems = Counter(error.problem.value for error in errors if isinstance(error, ProblemError))
    if problems:
        counts = ", ".join(f"{count} {problem}" for problem, count in problems.items())
        total = problems.total()
        found = "1 problem was found" if total == 1 else f"{total} problems were found"
        only_unknown = set(problems) == {Problem.UNKNOWN.value}
        return IntegrityError(f"{found}: {counts}", next_step="mgmt db rebuild" if only_unknown else "mgmt status NAME")
    undone = f"{len(errors) + len(partial)} of {len(outcomes)} targets were not wholly done"
    if len(errors) == len(outcomes) and len({error.exit_status for error in errors}) == 1:
        return type(errors[0])(f"{undone}: {errors[0].message}", next_step=errors[0].next_step)
    if len(errors) == len(outcomes):
        return MgmtError(undone)
    return PartialError(undone)
