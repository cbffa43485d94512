"""Simulates several hosts on one machine: a process gets a host name from the system or, without root, from Python.

The hosts share everything else, including the disks.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

_WITH_HOSTNAME = 'hostname "$0" && exec "$@"'
_WITH_PATCHED_NAME = """
import runpy, socket, sys
name = sys.argv[1]
socket.gethostname = lambda: name
if sys.argv[2] == "-m":
    module = sys.argv[3]
    sys.argv[1:4] = []
    runpy.run_module(module, run_name="__main__", alter_sys=True)
else:
    sys.argv[:2] = []
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@cache
def may_be_renamed() -> bool:
    """Whether processes may get a host name of their own."""
    if shutil.which("unshare") is None or shutil.which("hostname") is None:
        return False
    tried = ["unshare", "--uts", "sh", "-c", _WITH_HOSTNAME, "other", "hostname"]
    return subprocess.run(tried, capture_output=True, text=True).stdout.strip() == "other"


def on_host(name: str, command: Sequence[str | os.PathLike[str]]) -> list[str]:
    """`command`, which must start with this Python, so that it runs on the host `name`."""
    words = [os.fspath(each) for each in command]
    assert words[0] == sys.executable
    if may_be_renamed():
        return ["unshare", "--uts", "sh", "-c", _WITH_HOSTNAME, name, *words]
    return [sys.executable, "-c", _WITH_PATCHED_NAME, name, *words[1:]]


def become(name: str) -> None:
    """Make this process, a forked child, run on the host `name`."""
    socket.gethostname = lambda: name
