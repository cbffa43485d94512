"""A worker when what it depends on fails: the server of its catalog."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt.services import worker as workers
from tests.catalogs import catalogs_on
from tests.postgresql import OwnPostgreSQL, own_postgresql
from tests.program import Program

SECONDS = 600


@pytest.fixture
def server() -> Iterator[OwnPostgreSQL]:
    with own_postgresql() as server:
        yield server


@pytest.mark.postgresql
def test_a_worker_outlives_a_restart_of_the_server_of_its_catalog(server: OwnPostgreSQL, tmp_path: Path) -> None:
    with catalogs_on(server) as catalogs:
        (tmp_path / "store").mkdir()
        program = Program(tmp_path, f"file://{tmp_path}/store", catalogs=catalogs)
        for name in "ab":
            (program.work / name).write_text(name)

        log = tmp_path / "log"
        log.touch()

        def arm() -> None:
            workers.CATALOG_SECONDS = 0.1
            workers.logger.addHandler(logging.FileHandler(log))

        def wait_until(condition: Callable[[], bool]) -> None:
            while not condition():
                assert worker.poll() is None, worker.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)

        def run(name: str) -> None:
            program.ok("-q", "upload", name, "--later")
            wait_until(lambda: not program.json("queue"))

        worker, deadline = program.fork("worker", arm=arm), time.monotonic() + SECONDS
        run("a")
        server.stop(signal.SIGQUIT)
        wait_until(lambda: "the catalog cannot be used; trying again" in log.read_text())
        server.start()
        run("b")
        os.kill(worker.pid, signal.SIGTERM)
        worker.communicate()
        assert worker.returncode == 0
        assert [each["status"] for each in program.json("log")] == ["success"] * 2
