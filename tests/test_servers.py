"""A killed test run leaves neither servers nor their files behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until

ROOT = Path(__file__).parents[1]
START_AND_WAIT = "from tests.{module} import {name}\nwith {name}() as server:\n    {show}\n    input()\n"
SHOW = {
    "seaweedfs": "print(server.pid, server.folder, flush=True)",
    "rclone": "print(server.pid, server.folder, flush=True)",
    "moto": "print(server.pid, server.folder, flush=True)",
    "own_postgresql": "print(server.process.pid, server.home, flush=True)",
}


def runs(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return state != "" and not state.startswith("Z")


@pytest.mark.parametrize("name", SHOW)
def test_a_server_ends_with_the_process_that_started_it(name: str) -> None:
    module = "postgresql" if name == "own_postgresql" else "servers"
    code = START_AND_WAIT.format(module=module, name=name, show=SHOW[name])
    started = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with started:
        assert started.stdout is not None
        pid, folder = started.stdout.readline().split()
        assert runs(int(pid))
        assert os.path.isdir(folder)
        started.send_signal(signal.SIGKILL)
    until(lambda: not runs(int(pid)), f"{name} still runs")
    until(lambda: not os.path.exists(folder), f"{folder} is still there")
