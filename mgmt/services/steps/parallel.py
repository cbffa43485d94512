"""Upload several small targets of a batch in parallel, with the results of a sequential run."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from signal import SIGPIPE
from typing import Generic, NamedTuple, Protocol, TypeVar

from mgmt.errors import Interrupted, MgmtError
from mgmt.services.steps.context import Context
from mgmt.services.steps.footprint import SMALL, Footprint
from mgmt.services.steps.tally import Tally
from mgmt.services.steps.workers import Task, Workers
from mgmt.signals import held, may_stop, raised
from mgmt.storage import ObjectStore

QUEUED = 4
"""Targets for each worker that may begin before the result of an earlier one is there: results come in order."""

MOST_BYTES = 2 * SMALL
"""Bytes of all targets that are worked on at a time, for the sake of memory."""

USUAL_JOBS = 4
"""Small targets that are uploaded at a time by default: each waits for about ten answers, one after the other. More
take more memory, and are not faster unless the store is far away."""


def default_jobs(store: ObjectStore) -> int:
    """How many small targets to upload to `store` at a time: a directory is as fast as processors and disks."""
    return USUAL_JOBS if store.bucket is not None else min(_processors(), USUAL_JOBS)


def _processors() -> int:
    """Those that this process may use; of the machine, where the system does not tell (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Ended(Protocol):
    """How a target has ended."""

    @property
    def is_done(self) -> bool:
        """Whether everything was done."""
        ...


Result = TypeVar("Result", bound=Ended)
Attempt = Callable[[str, Context], Result]
"""Works on one target, and returns how that has ended; it raises no errors."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """How many targets are worked on at a time, and which: those with a footprint, unless theirs meet."""

    jobs: int
    footprint: Callable[[str], Footprint | None]
    """May raise any error: the target is worked on alone, and will end with it."""


class _Begun(NamedTuple, Generic[Result]):
    """A target that a worker was given."""

    number: int
    footprint: Footprint
    task: Task[Result]


@dataclass(slots=True)
class ParallelRun(Generic[Result]):
    """Works on the targets of a `tally`.

    The first one is worked on alone, because the others need what it finds out: the state of the catalog, and what the
    store supports. So is each that has no footprint, in this thread. All others are given to workers, unless an earlier
    one that they meet has not ended.
    """

    attempt: Attempt[Result]
    failed: Callable[[str, MgmtError], Result]
    """The result of a target that could not begin."""
    context: Context
    tally: Tally
    parallel: Parallel
    _workers: Workers[Result] | None = None
    _begun: deque[_Begun[Result]] = field(default_factory=deque)

    def run(self) -> Generator[Result, None, None]:
        """Yield how each target has ended, in their order.

        When it is interrupted, no further target begins, and those that a worker has begun end as soon as that is safe;
        what has ended by then is still yielded. It does not wait for them when it is interrupted again.
        """
        try:
            for number, target in enumerate(self.tally.targets):
                may_stop()
                footprint = self.parallel.footprint(target) if number else None
                if footprint is not None and not self._has_workers():
                    footprint = None
                yield from self._ended(partial(self._must_wait, footprint))
                if footprint is None:
                    self.tally.note()  # committed as the operation begins
                    result = self.attempt(target, self.context)
                    self.tally.end(number, is_done=result.is_done)
                    yield result
                else:
                    self._begin(number, target, footprint)
                    yield from self._ended(self._first_has_ended)
            yield from self._ended(lambda: True)
            self._close()
            if self._workers is not None:
                self._workers.check()
        except Interrupted as interruption:
            if not interruption.again:
                self._stop(interruption.signum)
                try:
                    yield from self._ended(lambda: True)
                except Interrupted:
                    raise
                except BaseException:  # who reads the results has gone, too, as when a pipeline is interrupted
                    self._close()
                    raise
                self._close()
            raise
        except BaseException:
            self._stop(raised() or SIGPIPE)  # who reads the results was interrupted, or has gone
            self._close()
            raise
        finally:
            if self._workers is not None:
                self._workers.dismiss()

    def _has_workers(self) -> bool:
        if self._workers is None:
            count = min(self.parallel.jobs, len(self.tally.targets) - 1)
            self._workers = Workers(count, self.context)
        return self._workers.count > 0

    def _must_wait(self, footprint: Footprint | None) -> bool:
        """Whether a target with this footprint may not begin yet, because of those before it."""
        if footprint is None or self._workers is None or len(self._begun) >= QUEUED * self._workers.count:
            return True
        running = [each.footprint for each in self._begun if not each.task.has_ended]
        if sum(each.size for each in running) + footprint.size > MOST_BYTES:
            return True
        return any(each.meets(footprint) for each in running)

    def _first_has_ended(self) -> bool:
        return self._begun[0].task.has_ended

    def _begin(self, number: int, target: str, footprint: Footprint) -> None:
        """Commit what is left, unless this process was declared dead meanwhile; then let a worker begin."""
        task = Task(partial(self._alone, target))
        self._note()
        try:
            self.context.catalog.journal.checkpoint()
        except MgmtError as error:
            task.end(self.failed(target, error))
        with held():
            self._begun.append(_Begun(number, footprint, task))
            if self._workers is not None and not task.has_ended:
                self._workers.submit(task)

    def _alone(self, target: str, context: Context) -> Result:
        return self.attempt(target, context)

    def _ended(self, wanted: Callable[[], bool]) -> Iterator[Result]:
        """Wait for the targets that have begun, one after the other, as long as more are `wanted`; yield their results.

        Of one that was interrupted there is none. Raises the error of one whose worker has failed.
        """
        while self._begun and wanted():
            first = self._begun[0]
            if not first.task.has_ended:
                total = len(self.tally.targets)
                self.context.progress.start(f"upload {total} targets")
                try:
                    first.task.wait()
                finally:
                    self.context.progress.stop()
            self._note()
            self._begun.popleft()
            for note in first.task.notes:
                self.context.progress.note(note)
            if first.task.error is not None:
                raise first.task.error
            if first.task.result is not None:
                yield first.task.result

    def _note(self) -> None:
        for each in self._begun:
            if each.task.has_ended and each.task.result is not None:
                self.tally.end(each.number, is_done=each.task.result.is_done)
        self.tally.note()

    def _close(self) -> None:
        if self._workers is not None:
            self._workers.dismiss()
            self._workers.join()

    def _stop(self, signum: int) -> None:
        if self._workers is not None:
            self._workers.stop(signum)
