"""`python -m benchmarks.workers [--archives N]`: one worker with one slot against four on two hosts, on PostgreSQL.

A batch verifies N small archives. The four workers are two on each of two hosts, as far as the catalog can tell; one of
them is killed on the way, and started again. Each archive must have been verified once. Prints for both how long they
took, and the CPU seconds of the workers with their processes, and of the server: where these together are all that the
machine has, more workers cannot be faster.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from tests.hosts import on_host
from tests.postgresql import OwnPostgreSQL, own_postgresql

HOSTS = ("ant", "ant", "bee", "bee")
LOOK_SECONDS = 0.1
"""How often to ask whether all is done, which must cost nothing beside the work."""

TICKS = os.sysconf("SC_CLK_TCK")

_STATUS = "SELECT status FROM operations WHERE operation_id = %s"
_OF_ARCHIVES = """
    FROM operations JOIN verifications USING (operation_id)
    WHERE parent_id = %s AND status = 'success' AND s3_object_key IS NOT NULL
"""
_DONE = f"SELECT count(*) {_OF_ARCHIVES}"
_TWICE = f"SELECT s3_object_key {_OF_ARCHIVES} GROUP BY 1 HAVING count(*) > 1"


class _Cost(NamedTuple):
    """Wall seconds, and the CPU seconds of the workers and of the server."""

    seconds: float
    of_workers: float
    of_server: float

    def __str__(self) -> str:
        cores = (self.of_workers + self.of_server) / self.seconds
        cpu = f"{self.of_workers:.1f} s of workers and {self.of_server:.1f} s of the server"
        return f"{self.seconds:.1f} s, CPU {cpu}: {cores:.2f} cores"


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

    def start_worker(self, host: str) -> int:
        """The process id of a worker on another machine."""
        command = on_host(host, self._command(["-q", "worker", "--slots", "1"]))
        return subprocess.Popen(
            command, env=self._environment, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).pid

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "mgmt", *arguments]


def _cost(team: _Team, server: OwnPostgreSQL, url: str, hosts: Sequence[str], *, archives: int, kill: bool) -> _Cost:
    """What it takes these workers to verify all archives, each of them once."""
    batch = team.run("-q", "verify", "--all", "--later").strip()
    with psycopg.connect(url, autocommit=True) as connection:

        def value(statement: str) -> Any:
            return connection.execute(statement.encode(), [batch]).fetchone()

        began, before, of_workers = time.monotonic(), _server_seconds(server), 0.0
        workers = [team.start_worker(host) for host in hosts]
        while value(_STATUS)[0] == "pending":
            time.sleep(LOOK_SECONDS)
            if kill and value(_DONE)[0] >= archives // 3:
                of_workers += _end(workers[0], signal.SIGKILL)
                workers[0], kill = team.start_worker(hosts[0]), False
        seconds, of_server = time.monotonic() - began, _server_seconds(server) - before
        of_workers += sum([_end(each, signal.SIGTERM) for each in workers])
        (status,), (done,) = value(_STATUS), value(_DONE)
        assert (status, done, value(_TWICE)) == ("success", archives, None)
    cost = _Cost(seconds, of_workers, of_server)
    print(f"{len(hosts)} worker(s): {cost}", flush=True)
    return cost


def _end(worker: int, number: int) -> float:
    """The CPU seconds of a worker and its processes, once `number` has ended it."""
    os.kill(worker, number)
    _, _, usage = os.wait4(worker, 0)
    return usage.ru_utime + usage.ru_stime


def _server_seconds(server: OwnPostgreSQL) -> float:
    """The CPU seconds of the server so far, with those of its processes."""
    assert server.process is not None
    root = server.process.pid
    return (
        sum(_ticks(fields, ended=pid == root) for pid, fields in _processes() if root in (pid, int(fields[1]))) / TICKS
    )


def _processes() -> Iterator[tuple[int, list[str]]]:
    """The process ids of all, and from the third on the fields of proc_pid_stat(5)."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue


def _ticks(fields: Sequence[str], *, ended: bool) -> int:
    """The CPU time of a process; with that of its children that have ended, if asked for."""
    return sum(map(int, fields[11 : 15 if ended else 13]))


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
        one = _cost(team, server, url, HOSTS[:1], archives=count, kill=False)
        four = _cost(team, server, url, HOSTS, archives=count, kill=True)
        print(f"four are {one.seconds / four.seconds:.2f} times as fast as one")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
