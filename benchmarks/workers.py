"""`python -m benchmarks.workers [--archives N]`: one worker with one slot against four on two hosts, on PostgreSQL.

A batch verifies N small archives. The four workers are two on each of two hosts, as far as the catalog can tell; one of
them is killed on the way. Each archive must have been verified once. Prints both times and their ratio.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.hosts import on_host
from tests.postgresql import own_postgresql

HOSTS = ("ant", "ant", "bee", "bee")


class _Team:
    """Machines that share a catalog and a store."""

    def __init__(self, folder: Path, catalog: str) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "MGMT_STORE": f"file://{folder}/store",
            "MGMT_CATALOG": catalog,
            "HOME": str(folder),
        }

    def run(self, *arguments: str) -> str:
        """The output of a command on this machine."""
        return subprocess.run(
            self._command(arguments),
            env=self._environment,
            cwd=self._folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def start(self, host: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """A command on another machine."""
        command = on_host(host, self._command(arguments))
        return subprocess.Popen(
            command, env=self._environment, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def operations(self) -> list[dict[str, Any]]:
        """All operations."""
        found: list[dict[str, Any]] = json.loads(self.run("-o", "json", "log", "--limit", "1000000"))
        return found

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "mgmt", *arguments]


def _seconds(team: _Team, hosts: Sequence[str], *, kill: bool) -> float:
    """How long these workers take to verify all archives, each of them once."""
    batch = team.run("-q", "verify", "--all", "--later").strip()
    began = time.monotonic()
    workers = [team.start(host, "-q", "worker", "--slots", "1") for host in hosts]
    while (status := _status(team, batch)) == "pending":
        time.sleep(0.5)
        if kill and time.monotonic() - began > 5:
            os.kill(workers[0].pid, signal.SIGKILL)
            workers[0].wait()
            workers[0], kill = team.start(hosts[0], "-q", "worker", "--slots", "1"), False
    seconds = time.monotonic() - began
    for each in workers:
        each.terminate()
    for each in workers:
        each.wait()
    verified = Counter(
        each["target_path"] for each in team.operations() if each["parent_id"] == batch and each["status"] == "success"
    )
    twice = [target for target, count in verified.items() if count > 1]
    print(f"{len(workers)} workers: {seconds:.1f} s, {status}, {len(verified)} verified, {len(twice)} of them twice")
    return seconds


def _status(team: _Team, batch: str) -> str:
    found = json.loads(team.run("-o", "json", "log", "--type", "batch", "--limit", "1"))
    assert found[0]["operation_id"] == batch
    return str(found[0]["status"])


def main(arguments: Sequence[str]) -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers")
    parser.add_argument("--archives", type=int, default=2_000, metavar="N")
    count = parser.parse_args(arguments).archives
    with own_postgresql() as server, server.database() as url, tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        (folder / "many").mkdir()
        for number in range(count):
            (folder / "many" / f"{number:05}").write_text(str(number))
        team = _Team(folder, url)
        team.run("-q", "upload", "--all=many", "--keep")
        one = _seconds(team, ["ant"], kill=False)
        four = _seconds(team, HOSTS, kill=True)
        print(f"four are {one / four:.2f} times as fast as one")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
