"""A command in a child forked from the test process, which saves the start of Python and all imports."""

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.waiting import until

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ESCAPED = 70
"""The exit status of a child whose command ended in an exception."""


class Forked:
    """A running child, with the methods of `subprocess.Popen` that tests need."""

    def __init__(self, main: Callable[[], int], *, environment: Mapping[str, str], cwd: Path) -> None:
        """Call `main` in a child, which exits with its result."""
        self._output, self._errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 - closed later
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(main, environment, cwd, self._output, self._errors)

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises TimeoutExpired if it still runs after `timeout` seconds."""
        if timeout is None and self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        try:
            until(lambda: self.poll() is not None, "the end of mgmt", seconds=timeout or 0)
        except TimeoutError as error:
            raise subprocess.TimeoutExpired("mgmt", timeout or 0) from error
        assert self.returncode is not None
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Wait for its end and return its output; may be called once."""
        self.wait()
        with self._output, self._errors:
            return _text(self._output), _text(self._errors)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.kill()
        self.wait()
        self._output.close()
        self._errors.close()


def child(work: Callable[[], object]) -> Forked:
    """A child that calls `work` and exits with 0.

    No SQLite catalog may be open in this process: the child would take this process's locks for its own.
    """

    def main() -> int:
        work()
        return 0

    return Forked(main, environment=dict(os.environ), cwd=Path.cwd())


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _become(
    main: Callable[[], int], environment: Mapping[str, str], cwd: Path, output: IO[str], errors: IO[str]
) -> None:
    """Never returns to the test: this process always exits here."""
    status = ESCAPED
    try:
        for number in SIGNALS:  # a test run in the background ignores SIGINT
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        for file, descriptor in ((output, 1), (errors, 2)):
            os.dup2(file.fileno(), descriptor)
        sys.stdin, sys.stdout, sys.stderr = open(os.devnull), output, errors  # noqa: SIM115
        warnings.simplefilter("ignore", ResourceWarning)  # as Python does, but pytest does not
        status = main()
    except SystemExit as ended:  # from Click, after shell completion
        status = ended.code if isinstance(ended.code, int) else ESCAPED
    except KeyboardInterrupt:  # before mgmt installs its handlers, it ends as any program does
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        errors.write(f"\nTraceback: escaped: {error!r}\n")
    finally:
        try:
            output.flush()
            errors.flush()
        finally:
            os._exit(status)
