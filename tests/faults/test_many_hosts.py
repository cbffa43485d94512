"""Many processes on 4 hosts with one catalog: each target is done once, without lock errors and without long waits."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TextIO

import pytest

from mgmt.catalog import Catalog, Status, open_catalog
from tests.conftest import Figure
from tests.faults.one_host import serve
from tests.faults.test_many_processes import ALLOWED
from tests.hosts import become
from tests.program import Program

HOSTS = ("ant", "bee", "cat", "dog")
EACH = {True: 2, False: 4}
"""Processes of each host, if there are a few targets, and if there are many."""
LONGEST = 1.0
"""Seconds that a transaction may wait, for others and for the disk, on an idle machine; only the torture checks it."""

A_FEW_TARGETS, A_FEW_FILES = 16, 4
WHOLE = pytest.mark.torture


def _pipe() -> tuple[TextIO, TextIO]:
    """Its ends for reading and for writing."""
    read, write = os.pipe()
    return open(read), open(write, "w")


class Host:
    """A host of one_host.py, in a child forked from the test process; hosts are closed in the opposite order."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        environment = program.env()
        orders, self._orders = _pipe()
        self._reports, reports = _pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._orders.close()
                become(name)
                os.environ.clear()
                os.environ.update(environment)
                os.chdir(program.work)
                serve(orders, reports)
            finally:
                os._exit(0)
        orders.close()
        reports.close()

    def send(self, line: str) -> None:
        self._orders.write(line + "\n")
        self._orders.flush()

    def receive(self) -> str:
        return self._reports.readline().strip()

    def close(self) -> None:
        self._orders.close()
        os.waitpid(self._pid, 0)
        self._reports.close()


@pytest.fixture
def program(on_directory: Program) -> Program:
    return on_directory


@pytest.fixture
def load() -> float:
    """The load per processor, at least 1: the holder of a lock may be waiting for a processor."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture
def catalog(program: Program, hosts: list[Host]) -> Iterator[Catalog]:
    """Opened when the hosts are there: a child would take the locks of this process for its own."""
    opened = open_catalog(program.records.url)
    opened.metadata.list_files()
    yield opened
    opened.close()


@pytest.fixture
def hosts(program: Program) -> Iterator[list[Host]]:
    with ExitStack() as stack:
        started = [Host(name, program) for name in HOSTS]
        for each in started:
            stack.callback(each.close)
        yield started


def together(hosts: list[Host], work: str, arguments: dict[str, dict[str, Any]], processes: int) -> list[Any]:
    """Start the processes of all `hosts` at once; returns the report of each. `arguments` are by host name."""
    for host in hosts:
        host.send(json.dumps({"work": work, "arguments": arguments[host.name], "processes": processes}))
    assert [host.receive() for host in hosts] == ["ready"] * len(hosts)
    for host in hosts:
        host.send("go")
    reports = [each for host in hosts for each in json.loads(host.receive())]
    assert [each["error"] for each in reports if "error" in each] == []
    return reports


GONE = {"there is no such file or folder", "no such file or folder"}
"""The errors when another process has already archived the file."""


def rate(reports: list[Any], count: int) -> float:
    longest: float = max(each["seconds"] for each in reports)
    return count / longest


@pytest.mark.parametrize("targets", [A_FEW_TARGETS, pytest.param(1000, marks=WHOLE)])
def test_every_shared_target_is_done_once(
    targets: int, program: Program, catalog: Catalog, hosts: list[Host], load: float, figure: Figure
) -> None:
    arguments = {"url": program.records.url, "targets": targets}
    reports = together(hosts, "share", dict.fromkeys(HOSTS, arguments), EACH[targets == A_FEW_TARGETS])
    assert sum(each["done"] for each in reports) == targets
    found = catalog.metadata.list_operations("upload", limit=None)
    assert Counter(each.target_path for each in found if each.status is Status.SUCCESS) == Counter(
        f"/shared/{target}" for target in range(targets)
    )
    assert {each.status for each in found} <= {Status.SUCCESS, Status.CANCELLED}
    assert {each.host for each in found} == set(HOSTS)
    transactions = sum(each["transactions"] for each in reports)
    longest = max(each["longest"] for each in reports)
    arguments["targets"] = targets * 2  # half of them are done
    alone = together(hosts[:1], "share", dict.fromkeys(HOSTS, arguments), processes=1)
    of_one = rate(alone, alone[0]["transactions"])
    note = f"{rate(reports, transactions):.0f} transactions a second, one process {of_one:.0f}; "
    note += f"the longest wait {longest * 1000:.0f} ms"
    kind = "SQLite" if catalog.database.is_sqlite else "PostgreSQL"
    print(f"{kind}: {note}")
    figure(4, f"targets shared by {len(reports)} processes on 4 hosts, {kind}", tried=targets, violations=0, note=note)
    assert targets == A_FEW_TARGETS or longest < LONGEST * load


@pytest.mark.parametrize("files", [A_FEW_FILES, pytest.param(100, marks=WHOLE)])
def test_every_file_is_archived_once(
    files: int, program: Program, catalog: Catalog, hosts: list[Host], load: float, figure: Figure
) -> None:
    """All processes of a host upload the same files of that host."""
    paths: dict[str, list[str]] = {}
    for name in HOSTS:
        (program.work / name).mkdir()
        for number in range(files):
            path = program.work / name / f"{name} {number}"
            path.write_text(f"contents of {name} {number}")
            paths.setdefault(name, []).append(str(path))
    reports = together(
        hosts, "upload", {name: {"options": [], "paths": paths[name]} for name in HOSTS}, EACH[files == A_FEW_FILES]
    )
    for each in reports:
        assert each["status"] in ALLOWED, each["log"]
        assert "Traceback" not in each["log"]
        assert "locked" not in each["log"]
    failed = catalog.metadata.list_operations("upload", Status.FAILED, limit=None)
    assert {str(each.error_message).rpartition(": ")[2] for each in failed} <= GONE
    assert catalog.journal.running() == []
    done = catalog.metadata.list_operations("upload", Status.SUCCESS, limit=None)
    assert Counter((each.host, each.target_path) for each in done) == Counter(
        (name, path) for name in HOSTS for path in paths[name]
    )
    for name in HOSTS:
        moved = {path.name: path.read_text() for path in (program.work / name / "completed").iterdir()}
        assert moved == {f"{name} {number}": f"contents of {name} {number}" for number in range(files)}
        assert len(catalog.metadata.list_files(location=None, host=name, limit=None)) >= 3 * files
    assert len(list((program.home / "store").glob("*.tar.gz"))) == files * len(HOSTS)
    longest = max(each["longest"] for each in reports)
    kind = "SQLite" if catalog.database.is_sqlite else "PostgreSQL"
    note = f"{rate(reports, len(done)):.1f} uploads a second; the longest wait {longest * 1000:.0f} ms"
    print(f"{kind}: {note}")
    what = f"files that {len(reports)} processes on 4 hosts archive, {kind}"
    figure(4, what, tried=len(done), violations=0, note=note)
    assert files == A_FEW_FILES or longest < LONGEST * load
