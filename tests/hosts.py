"""One machine plays several: what runs on a host is told that host's name by the system, or where root is needed, by
Python. Everything else of the machine they share, its disks too.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

_NAMED = 'hostname "$0" && exec "$@"'
_PRETENDING = """
import runpy, socket, sys
name = sys.argv[1]
socket.gethostname = lambda: name
if sys.argv[2] == "-m":
    sys.argv[1:3] = []
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
else:
    sys.argv[:2] = []
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@cache
def may_be_renamed() -> bool:
    """The system lets us give processes a host name of their own."""
    if shutil.which("unshare") is None or shutil.which("hostname") is None:
        return False
    tried = ["unshare", "--uts", "sh", "-c", _NAMED, "other", "hostname"]
    return subprocess.run(tried, capture_output=True, text=True).stdout.strip() == "other"


def on_host(name: str, command: Sequence[str | os.PathLike[str]]) -> list[str]:
    """`command`, which begins with this Python, as the host `name` runs it."""
    words = [os.fspath(each) for each in command]
    assert words[0] == sys.executable
    if may_be_renamed():
        return ["unshare", "--uts", "sh", "-c", _NAMED, name, *words]
    return [sys.executable, "-c", _PRETENDING, name, *words[1:]]


def become(name: str) -> None:
    """Let this process, a child that was forked for it, be on the host `name`."""
    socket.gethostname = lambda: name
