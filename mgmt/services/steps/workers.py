"""Worker threads: each works with the catalog in a session of its own, as another process would."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from queue import SimpleQueue
from typing import Generic, TypeVar

from mgmt.catalog import Catalog
from mgmt.errors import CatalogError, Interrupted
from mgmt.progress import Progress
from mgmt.services.steps.context import Context
from mgmt.signals import Stop, held, stop_here, stopping_at
from mgmt.storage import ObjectStore

Result = TypeVar("Result")


class Task(Generic[Result]):
    """Some work for a worker, and how it ended."""

    def __init__(self, work: Callable[[Context], Result]) -> None:
        self._work = work
        self._done = threading.Lock()
        self._done.acquire()
        self.has_ended = False
        self.result: Result | None = None
        """What `work` has returned; None if it was interrupted, or there was an error."""
        self.error: BaseException | None = None
        """What `work` has raised, unless it was interrupted: a bug, as it returns the errors of a target."""
        self.notes: list[str] = []
        """What `work` had to say meanwhile."""

    def run(self, context: Context, stop: Stop) -> None:
        """Do the work in this thread."""
        try:
            with suppress(Interrupted), stopping_at(stop):
                stop_here()
                self.result = self._work(replace(context, progress=_Share(context.progress, self.notes)))
        except BaseException as exc:  # raised again by who waits for this
            self.error = exc
        finally:
            self.has_ended = True
            self._done.release()

    def end(self, result: Result) -> None:
        """End it with this `result`, without doing it."""
        self.result, self.has_ended = result, True

    def wait(self) -> None:
        """Wait until it has ended. May be called again after an interruption."""
        while not self.has_ended:
            self._done.acquire()


class Workers(Generic[Result]):
    """Up to `count` threads. None of them is ever inside a transaction, an operation or a session of another.

    They end with the process, whatever they are doing: what that leaves behind is what `kill` would.
    """

    def __init__(self, count: int, context: Context) -> None:
        """Connect each to the catalog. If a server allows too few connections, there are fewer workers, or none."""
        self._stop = Stop()
        self._tasks: SimpleQueue[Task[Result] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        for catalog in _catalogs(context.catalog, count):
            own = replace(context, catalog=catalog, open_store=_stores(context, catalog))
            thread = threading.Thread(target=self._work, args=[own], name="mgmt upload", daemon=True)
            with held():
                thread.start()
                self._threads.append(thread)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._threads)

    def submit(self, task: Task[Result]) -> None:
        """Let the next free worker run `task`."""
        self._tasks.put(task)

    def stop(self, signum: int) -> None:
        """Interrupt the tasks that are running, as soon as that is safe; those that are not yet do not begin."""
        self._stop.ask(signum)

    def dismiss(self) -> None:
        """Let each end after the tasks that were submitted. May be called twice."""
        for _ in self._threads:
            self._tasks.put(None)

    def join(self) -> None:
        """Wait until they have ended, and disconnected from the catalog."""
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raise the first error that has ended one of them, or that was raised when it disconnected."""
        for error in self._errors[:1]:
            raise error

    def _work(self, context: Context) -> None:
        try:
            with closing(context.catalog.database):
                while (task := self._tasks.get()) is not None:
                    task.run(context, self._stop)
        except BaseException as exc:  # raised again by `check`
            self._errors.append(exc)


class _Share:
    """The share of one worker in a progress; what it notes is kept until its task has ended."""

    def __init__(self, whole: Progress, notes: list[str]) -> None:
        self._whole = whole
        self._notes = notes

    def start(self, task: str, total: int | None = None) -> None:
        """Be interrupted here, if asked to."""
        stop_here()

    def advance(self, count: int) -> None:
        """Add `count` bytes to the whole."""
        self._whole.advance(count)
        stop_here()

    def note(self, message: str) -> None:
        """Keep `message`."""
        self._notes.append(message)

    def stop(self) -> None:
        """Nothing: the others go on."""


def _catalogs(catalog: Catalog, count: int) -> Sequence[Catalog]:
    """The same catalog for up to `count` threads: for at least two, or none."""
    found: list[Catalog] = []
    with suppress(CatalogError):
        while len(found) < count:
            found.append(catalog.for_thread())
    if found and len(found) < count:
        found.pop().database.close()  # other processes and the heartbeats need connections, too
    if len(found) == 1:
        found.pop().database.close()
    return found


def _stores(context: Context, catalog: Catalog) -> Callable[[str | None], ObjectStore]:
    """Opens stores for the operations of `catalog`: they remove nothing if these were taken over."""
    opened: dict[str | None, ObjectStore] = {}

    def open_store(url: str | None) -> ObjectStore:
        if url not in opened:
            opened[url] = context.open_store(url).guarded(catalog.journal.confirm)
        return opened[url]

    return open_store
