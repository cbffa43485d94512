"""A command in a child that is forked from the test process: all is imported there, which saves the start of Python."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ESCAPED = 70
"""The exit status of a child whose command ended in an exception."""


class Forked:
    """What has been begun, with the methods of a `subprocess.Popen` that tests need."""

    def __init__(self, main: Callable[[], int], *, environment: Mapping[str, str], cwd: Path) -> None:
        """Call `main`, and exit with what it returns."""
        self._output, self._errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 - to the end
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(main, environment, cwd, self._output, self._errors)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; TimeoutExpired when it still runs after so many seconds."""
        if timeout is None and self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        deadline = time.monotonic() + (timeout or 0)
        while (status := self.poll()) is None:
            if (left := deadline - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired("mgmt", timeout or 0)
            time.sleep(min(left, 0.002))
        return status

    def communicate(self) -> tuple[str, str]:
        """What it has printed, when it has ended; once."""
        self.wait()
        with self._output, self._errors:
            return _text(self._output), _text(self._errors)

    def send_signal(self, number: int) -> None:
        """Send it this, unless it has ended."""
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


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _become(
    main: Callable[[], int], environment: Mapping[str, str], cwd: Path, output: IO[str], errors: IO[str]
) -> None:
    """Never back into the test: whatever happens, this process ends here."""
    status = ESCAPED
    try:
        for number in SIGNALS:  # a test run in the background has SIGINT ignored
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        for file, descriptor in ((output, 1), (errors, 2)):
            os.dup2(file.fileno(), descriptor)
        sys.stdin, sys.stdout, sys.stderr = open(os.devnull), output, errors  # noqa: SIM115
        warnings.simplefilter("ignore", ResourceWarning)  # as Python does, but pytest does not
        status = main()
    except KeyboardInterrupt:  # before mgmt listens, it ends as any program does
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
