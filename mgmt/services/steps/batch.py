"""Several targets: a parent operation and a child for each; one that fails does not stop the others."""

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mgmt.catalog import BatchRecord, OperationRecord, Status
from mgmt.errors import CatalogError, IntegrityError, MgmtError, PartialError, Problem, ProblemError
from mgmt.services.steps.context import Context
from mgmt.services.steps.footprint import Footprint
from mgmt.services.steps.parallel import Parallel, ParallelRun
from mgmt.services.steps.tally import Tally
from mgmt.signals import held, may_stop

logger = logging.getLogger(__name__)
Record = TypeVar("Record", bound=OperationRecord)
Result = TypeVar("Result")


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

    def without_record(self) -> "Outcome[Result]":
        """The same to count: a thousand records take 20 MiB of memory."""
        return replace(self, record=None)


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
    return _run(targets, _Attempts(work, context), name, _one_by_one, unrecorded)


def run_parallel(
    targets: Sequence[str],
    work: Callable[[str, Context], Record],
    context: Context,
    *,
    name: str,
    parallel: Parallel,
) -> Generator[Outcome[Record], None, None]:
    """Like `run_batch`, but work on several targets at a time; they end as they would one after the other.

    Each outcome is yielded in the order of the targets.
    """

    def each(attempts: _Attempts[Record], tally: Tally) -> Generator[Outcome[Record], None, None]:
        return ParallelRun(attempts.attempt, attempts.failed, attempts.context, tally, shared).run()

    def footprint(target: str) -> Footprint | None:
        return _attempt(target, parallel.footprint).record

    shared = replace(parallel, footprint=footprint)

    return _run(targets, _Attempts(work, context), name, each if parallel.jobs > 1 else _one_by_one)


@dataclass(frozen=True, slots=True)
class _Attempts(Generic[Record]):
    """Work on the targets of a batch: every error ends as an outcome."""

    work: Callable[[str, Context], Record]
    context: Context

    def within(self, batch: str) -> "_Attempts[Record]":
        return _Attempts(self.work, self.context.within(batch))

    def attempt(self, target: str, context: Context) -> Outcome[Record]:
        """Work on `target`; with another catalog than that of this context, its record can be read in any thread."""

        def work(target: str) -> Record:
            record = self.work(target, context.on(target))
            if context.catalog is not self.context.catalog:
                context.catalog.database.detach(record)
            return record

        return _attempt(target, work, self.context.parent)

    def failed(self, target: str, error: MgmtError) -> Outcome[Record]:
        """The outcome of a target that could not begin."""
        return Outcome(target, error=error, batch=self.context.parent)


_Each = Callable[[_Attempts[Record], Tally], Generator[Outcome[Record], None, None]]


def _run(
    targets: Sequence[str],
    attempts: _Attempts[Record],
    name: str,
    each: _Each[Record],
    unrecorded: Callable[[CatalogError], None] | None = None,
) -> Generator[Outcome[Record], None, None]:
    context = attempts.context
    if context.fan_out is not None:
        context.fan_out(targets)
        return
    if len(targets) < 2:
        for target in targets:
            yield attempts.attempt(target, context)
        return
    batch = BatchRecord(
        target_path=name,
        target_name=name,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.repeats.get(""),
    )
    tally = Tally(batch, targets)
    with context.catalog.journal.record(batch, unrecorded=unrecorded):
        outcomes: list[Outcome[Record]] = []
        try:
            with closing(each(attempts.within(batch.operation_id), tally)) as in_turn:
                for outcome in in_turn:
                    outcomes.append(outcome.without_record())
                    yield outcome
        except BaseException:
            with held(), suppress(MgmtError):
                tally.note()
                context.catalog.journal.checkpoint()
            raise
        tally.note()
        if undone := sum(not outcome.is_done for outcome in outcomes):
            batch.status = Status.PARTIAL if undone < len(targets) else Status.FAILED
            batch.error_message = _summary(outcomes)


def _one_by_one(attempts: _Attempts[Record], tally: Tally) -> Generator[Outcome[Record], None, None]:
    for number, target in enumerate(tally.targets):
        may_stop()
        tally.note()  # committed as the operation begins
        outcome = attempts.attempt(target, attempts.context)
        tally.end(number, is_done=outcome.is_done)
        yield outcome


def preview_each(targets: Iterable[str], work: Callable[[str], Result]) -> Generator[Outcome[Result], None, None]:
    """Yield what `work(target)` says would be done with each target, or the error that it would end with."""
    for target in targets:
        yield _attempt(target, work)


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
