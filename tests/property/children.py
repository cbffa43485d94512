"""Commands of mgmt that run to the end in this process, or that are killed or stopped in a forked child.

A child may be killed, or stopped until it is resumed, at one of its steps: an access to a file or to the store, or the
beginning or the end of a transaction. A fork takes longer than most commands, so that only those have a child that
cannot do without: what is cut off, or runs on another host.
"""

import fcntl
import os
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from tests.catalogs import Catalog, PostgreSQLCatalog, SQLiteCatalog
from tests.forked import ESCAPED
from tests.hosts import become
from tests.program import Done, Program
from tests.waiting import until

TIMEOUT = 600.0
"""Seconds after which a command is taken to be blocked."""

_EVENTS = frozenset(
    ["open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.scandir", "os.listdir"]
)
_SENT = "http.client.send"
_OPEN_TRANSACTION = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    " AND state LIKE 'idle in transaction%'"
)


@dataclass(frozen=True)
class Moment:
    """When a child gets a signal: at its step `step`, when it opens a file of the user for the time number `look`, at
    the next step after opening `past` of them, when it opens the one called `opens`, or as soon as `when()` is true;
    without any of these, never."""

    step: int = 0
    look: int = 0
    past: int = 0
    opens: str = ""
    when: Callable[[], bool] | None = None


NEVER = Moment()


class _Steps:
    """Counts the steps of this process, and sends it the signal `number` at the moment.

    SIGSTOP is sent again at each later step, as long as the file `held` exists.
    """

    def __init__(self, moment: Moment, number: int, home: Path, names: frozenset[str]) -> None:
        self._moment, self._number, self._home, self._names = moment, number, str(home), names
        self._held = home / "held"
        self._inside = self._come = False
        self.count = self._looks = 0

    def watch(self) -> None:
        from sqlalchemy import Engine, event

        sys.addaudithook(self._audit)
        os.fsync = lambda fd: self.step()  # only processes are killed here, so unsynced data is not lost
        if self._number == signal.SIGKILL:  # a process stopped there would block others from the catalog
            event.listen(Engine, "begin", lambda _: self.step())
            event.listen(Engine, "commit", lambda _: self.step())

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self._inside:
            return
        path = arguments[0] if arguments else None
        path = os.fsdecode(path) if isinstance(path, bytes) else path
        if name == "open" and self._is_in_home(path) and os.path.basename(path) in self._names:
            self._looks += 1
            self.step(opened=os.path.basename(path))
        elif name == _SENT or (name in _EVENTS and self._is_in_home(path)):
            self.step()

    def _is_in_home(self, path: object) -> TypeGuard[str]:
        return isinstance(path, str) and (not path.startswith("/") or path.startswith(self._home))

    def step(self, *, opened: str | None = None) -> None:
        if self._inside or not self._number:
            return
        self._inside = True
        self.count += 1
        first = not self._come
        self._come = self._come or (
            self.count == self._moment.step
            or (opened is not None and (self._looks == self._moment.look or opened == self._moment.opens))
            or (opened is None and self._looks >= self._moment.past > 0)
            or (self._moment.when is not None and self._moment.when())
        )
        if self._come and (first or (self._number == signal.SIGSTOP and self._held.exists())):
            os.kill(os.getpid(), self._number)
        self._inside = False


@dataclass
class Child:
    """A running command."""

    words: Sequence[str]
    pid: int
    output: Path
    errors: Path
    catalog: Catalog
    held: Path
    done: Done | None = field(default=None)

    def wait(self) -> Done:
        """Wait for its end; returns the result."""
        try:
            until(self._has_ended, f"the end of {' '.join(self.words)}", seconds=TIMEOUT)
        except TimeoutError:
            self.kill()
            raise
        assert self.done is not None
        return self.done

    def _has_ended(self) -> bool:
        if self.done is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._note(status)
        return self.done is not None

    def stopped(self) -> bool:
        """Wait until it is stopped where it blocks no other process; False if it ended before."""
        deadline = time.monotonic() + TIMEOUT
        while self.done is None:
            _, status = os.waitpid(self.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                self._note(status)
                return False
            if not _blocks_others(self.pid, self.catalog):
                return True
            assert time.monotonic() < deadline, self.words
            os.kill(self.pid, signal.SIGCONT)
        return False

    def resume(self) -> None:
        """Let it run to the end."""
        self.held.unlink(missing_ok=True)
        if self.done is None:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.done is None:
            os.kill(self.pid, signal.SIGKILL)
            self._note(os.waitpid(self.pid, 0)[1])

    def _note(self, status: int) -> None:
        self.done = Done(os.waitstatus_to_exitcode(status), self.output.read_text(), self.errors.read_text())
        self.held.unlink(missing_ok=True)
        if self.done.returncode < 0:
            self.catalog.wait()


@dataclass
class Runner:
    """Runs commands for the user of `program`, each with the current `catalog`."""

    program: Program
    catalog: Catalog
    names: frozenset[str]
    """Names of the user's files."""
    count: int = 0

    def start(self, words: Sequence[str], *, host: str | None = None, moment: Moment = NEVER, number: int = 0) -> Child:
        """Start a command, which gets the signal `number` at `moment`."""
        self.count += 1
        folder = self.program.home / "output"
        folder.mkdir(exist_ok=True)
        output, errors = folder / f"{self.count}.out", folder / f"{self.count}.err"
        held = self.program.home / "held"
        if number == signal.SIGSTOP:
            held.touch()
        program = replace(self.program, environment={**self.program.environment, "MGMT_CATALOG": self.catalog.url})
        environment = program.env()
        pid = os.fork()
        if pid == 0:
            steps = _Steps(moment, number, program.home, self.names)
            _become_command(program, words, environment, output, errors, host, steps)
        return Child(words, pid, output, errors, self.catalog, held)

    def run(self, words: Sequence[str]) -> Done:
        """Run a command to the end, in this process."""
        program = replace(self.program, environment={**self.program.environment, "MGMT_CATALOG": self.catalog.url})
        try:
            return program.run(*words)
        except Exception as error:
            return Done(ESCAPED, "", f"Traceback: escaped: {error!r}")


def _become_command(
    program: Program,
    words: Sequence[str],
    environment: dict[str, str],
    output: Path,
    errors: Path,
    host: str | None,
    steps: _Steps,
) -> None:
    """Never returns to the test: this process always exits here."""
    status = ESCAPED
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(program.work)
        if host is not None:
            become(host)
        with output.open("w") as out, errors.open("w") as err, open(os.devnull) as nothing:
            sys.stdout, sys.stderr, sys.stdin = out, err, nothing
            warnings.simplefilter("ignore")
            steps.watch()
            status = program.main(list(words))
    except BaseException as error:
        with errors.open("a") as err:
            err.write(f"\nTraceback: escaped: {error!r}\n")
    finally:
        if os.environ.get("MGMT_STEPS"):
            with errors.open("a") as err:
                err.write(f"\nsteps: {steps.count}\n")
        os._exit(status)


def _blocks_others(pid: int, catalog: Catalog) -> bool:
    """Whether it holds a lock: of a transaction, or of a directory store."""
    opened = [os.path.realpath(entry) for entry in os.scandir(f"/proc/{pid}/fd")]
    if any(path.endswith("lock") and _has_flock(path) for path in opened):
        return True
    if isinstance(catalog, SQLiteCatalog):
        return catalog.path.exists() and _is_written(catalog.path)
    return isinstance(catalog, PostgreSQLCatalog) and bool(catalog.rows(_OPEN_TRANSACTION))


def _has_flock(path: str) -> bool:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _is_written(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False
