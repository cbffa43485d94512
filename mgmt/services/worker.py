"""A worker: takes the jobs of its queues, and runs each in a process of its own.

It holds nothing that could be lost: a job that it has taken is that of its process, and so is an operation that runs.
When both are dead, the next worker of this machine takes the job again.
"""

import contextlib
import ctypes
import logging
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

from mgmt.catalog import Catalog, JobRecord, OperationRecord, Status, Wanted
from mgmt.catalog.records.process import Owner
from mgmt.errors import CatalogError
from mgmt.services.steps.request_arguments import WORKER
from mgmt.signals import STOPPING

POLL_SECONDS = 1.0
"""How long an idle worker waits before it looks for work again."""

LOOK_SECONDS = 5.0
"""How often it looks for jobs of workers that have died, and does what is due besides."""

CATALOG_SECONDS = 10.0
"""How long it waits after the catalog could not be used: a server may be restarting."""

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""

CHUNK_SECONDS = 5.0
"""How long a process should work on small operations of a batch, one after the other: to start one takes longer."""

MOST_AT_ONCE = 100
"""How many operations a process works on at most."""

_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

RunOperations = Callable[[Sequence[str]], int]
"""Runs requested operations in this process, one after the other, and returns the exit status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkEvent:
    """What a worker has done: an operation has started or ended, or was left for another attempt."""

    type: str
    """started, ended, or left."""
    operation_id: str
    operation_type: str
    target_path: str | None
    status: str
    attempt: int
    exit_status: int | None = None
    error_message: str | None = None


class _Process(NamedTuple):
    """A process, the jobs that it was given, and when."""

    jobs: Sequence[JobRecord]
    began: float


class _Over(NamedTuple):
    """A job whose process has ended, with what exit status, and whether it was its only one."""

    job: JobRecord
    exit_status: int
    alone: bool


@dataclass(slots=True)
class Worker:
    """Runs up to `slots` operations at a time."""

    catalog: Catalog
    wanted: Wanted
    slots: int
    run: RunOperations
    tend: Callable[[], None]
    """Does what else is due, such as schedules and notifications; called every few seconds."""
    _running: dict[int, _Process] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    """How long an operation of each command took last."""
    _over: deque[_Over] = field(default_factory=deque)
    _stopping: bool = False
    _told: set[int] = field(default_factory=set)
    """The processes that were asked to stop."""
    _looked: float = 0.0
    _has_found_abandoned: bool = False
    """A worker that died may have left more: it takes many at a time."""
    _usable: bool = False
    """The catalog could be used once; what is wrong later may pass."""

    def work(self, *, until_empty: bool) -> Iterator[WorkEvent]:
        """Yield what happens until SIGTERM or another signal, or with `until_empty` until no job is left to run.

        After the signal no further job is taken, those that run are asked to stop as soon as that is safe, and go on
        when the next worker takes them.
        """
        with self._waking() as wait:
            while True:
                seconds = POLL_SECONDS
                try:
                    yield from self._ended()
                    if not self._stopping:
                        yield from self._started()
                    self._pass_on()
                    if until_empty and not self._running and not self.catalog.jobs.has_more(self.wanted):
                        return
                    self._usable = True
                except CatalogError as error:
                    if until_empty or not self._usable:
                        raise
                    self.catalog.database.close()
                    logger.warning("the catalog cannot be used; trying again: %s", error)
                    seconds = CATALOG_SECONDS
                    self._pass_on()
                if self._stopping and not self._running:
                    return
                wait(seconds)

    def _pass_on(self) -> None:
        """Ask the processes to stop, each once, if this one was asked to."""
        for pid in self._running.keys() - self._told if self._stopping else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            self._told.add(pid)

    def _started(self) -> Iterator[WorkEvent]:
        if is_due := time.monotonic() - self._looked >= LOOK_SECONDS:
            self.tend()
            self._looked = time.monotonic()
        while len(self._running) < self.slots and not self._stopping:
            free = self.catalog.jobs
            look = is_due or self._has_found_abandoned
            abandoned = free.take_abandoned(self.wanted, most=self._most) if look else []
            self._has_found_abandoned = bool(abandoned)
            if not (jobs := abandoned or free.take(self.wanted, most=self._most)):
                return
            try:
                events = [self._event("started", job) for job in jobs]
            except CatalogError:
                self._over += [_Over(job, 1, alone=False) for job in jobs]  # to be given back
                raise
            # SQLite must not be used on both sides of a fork, and a server would get what two processes say.
            self.catalog.database.close()
            pid = self._fork([job.operation_id for job in jobs])
            self._running[pid] = _Process(jobs, time.monotonic())
            yield from events

    def _most(self, command: str) -> int:
        """How many operations of a batch to give to one process."""
        seconds = self._seconds.get(command)
        if seconds is None or self.wanted.per_store is not None:
            return 1
        return max(1, min(MOST_AT_ONCE, int(CHUNK_SECONDS / max(seconds, 0.001))))

    def _ended(self) -> Iterator[WorkEvent]:
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                process = self._running.pop(pid)
                self._told.discard(pid)
                self._seconds[process.jobs[0].command] = (time.monotonic() - process.began) / len(process.jobs)
                alone, exit_status = len(process.jobs) == 1, os.waitstatus_to_exitcode(status)
                self._over += [_Over(job, exit_status, alone) for job in process.jobs]
        while self._over:
            event = self._end(*self._over[0])
            self._over.popleft()  # not before that is recorded
            yield event

    def _end(self, job: JobRecord, exit_status: int, alone: bool) -> WorkEvent:
        """The process that was given `job` has ended: so has its operation, or it waits for another attempt."""
        left = self.catalog.jobs.job(job.operation_id)
        if left is None or left.fanned_out:
            return self._event("ended", job)
        how = f"its process ended with exit status {exit_status}"
        begun = alone or self.catalog.metadata.require_operation(job.operation_id).owner is not None
        self.catalog.jobs.give_back(job.operation_id, how, counts=begun and not self._stopping, worker=_me())
        kind = "ended" if self.catalog.jobs.job(job.operation_id) is None else "left"
        return self._event(kind, job, exit_status)

    def _event(self, kind: str, job: JobRecord, exit_status: int | None = None) -> WorkEvent:
        operation: OperationRecord = self.catalog.metadata.require_operation(job.operation_id)
        return WorkEvent(
            type=kind,
            operation_id=operation.operation_id,
            operation_type=operation.operation_type,
            target_path=operation.target_path,
            status=operation.status,
            attempt=job.attempt,
            exit_status=exit_status,
            error_message=operation.error_message,
        )

    def _fork(self, operation_ids: Sequence[str]) -> int:
        """Run the operations in another process, which has imported already what this one has."""
        sys.stdout.flush()
        parent, me = os.getpid(), _me()
        if (pid := os.fork()) != 0:
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in self._heeded():
                signal.signal(number, signal.SIG_DFL)
            os.setsid()  # Ctrl-C at the terminal is for the worker, which passes it on
            _die_with(parent)
            os.environ[WORKER] = me
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(nothing, 1)
            sys.stdout = open(nothing, "w", closefd=False, encoding="utf-8")  # noqa: SIM115 - until the process ends
            status = self.run(operation_ids)
            sys.stderr.flush()
        finally:
            os._exit(status)  # what this process has inherited belongs to the worker

    def _heeded(self) -> list[signal.Signals]:
        """The signals that stop it: not those that it was started to ignore, as by nohup."""
        return [each for each in STOPPING if signal.getsignal(each) is not signal.SIG_IGN]

    @contextlib.contextmanager
    def _waking(self) -> Iterator[Callable[[float], None]]:
        """Handle signals during the block; yields how to wait, until one arrives or for some seconds."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        def wait(seconds: float) -> None:
            if select.select([reader], [], [], seconds)[0]:
                os.read(reader, 4096)

        before: dict[signal.Signals, _Handler] = {number: signal.signal(number, stop) for number in self._heeded()}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield wait
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)


def has_been_done_since(operation_id: str, catalog: Catalog) -> bool:
    """Whether a later attempt of the operation has succeeded."""
    again = deque(catalog.metadata.repeats_of(operation_id))
    while again:
        each = again.popleft()
        if each.status == Status.SUCCESS:
            return True
        again += catalog.metadata.repeats_of(each.operation_id)
    return False


def _die_with(parent: int) -> None:
    """Let this process get SIGTERM when `parent` dies, where the system can (Linux); its operation then waits."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _me() -> str:
    return str(Owner.current())
