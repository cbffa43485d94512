"""Ends a server when the process that started it is gone, even by SIGKILL, and removes the server's folder.

Run as a script beside each server, and beside a test run for its own folder: a killed process cannot clean up.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

NONE = 0
POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0
"""Seconds that a server may take to stop before it is killed."""


def watch(server: int | None, folder: str | os.PathLike[str]) -> "subprocess.Popen[bytes]":
    """The guard of the process group `server`, if any, and of `folder`; `dismiss` it when both have been cleaned up."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(server or NONE), os.fspath(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C goes to the test run, which then stops the server
    )


def dismiss(guard: "subprocess.Popen[bytes]") -> None:
    """End the guard, as nothing is left to do."""
    guard.kill()
    guard.wait()


def _end(server: int) -> None:
    for number in (signal.SIGQUIT, signal.SIGKILL):  # on SIGQUIT, PostgreSQL gives its shared memory back
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            os.killpg(server, number)
            while time.monotonic() < deadline:
                os.killpg(server, 0)
                time.sleep(POLL_SECONDS / 4)
        except ProcessLookupError:
            return


def _main(parent: int, server: int, folder: str) -> None:
    while os.getppid() == parent:  # not a pipe: forked children of the parent would hold it open
        time.sleep(POLL_SECONDS)
    if server != NONE:
        _end(server)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
