"""The loop of a worker, with operations that do nothing."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from mgmt.catalog import Catalog, JobRecord, Status, open_catalog
from mgmt.catalog.records.process import this_host
from mgmt.services import worker as workers
from tests.catalog.requested import ANYTHING, Requests

DEAD = f"{this_host()}/another boot/1/1"
"""A process that is no more, wherever this machine has booted since."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/catalog.db"


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    opened = open_catalog(url)
    yield opened
    opened.close()


@pytest.fixture
def run(url: str) -> workers.RunOperations:
    """What the process of a worker does: it does nothing, with success."""

    def run(operation_ids: Sequence[str]) -> int:
        own = open_catalog(url)
        for each in operation_ids:
            Requests(own).run(own.metadata.require_operation(each))
        own.close()
        return 0

    return run


@contextmanager
def without_idling(worker: workers.Worker) -> Iterator[Callable[[float], None]]:
    """In place of `Worker._waking`: a worker waits for its processes, and never for work."""

    def wait(_seconds: float) -> None:
        assert worker._running, "it waits, and there is work"
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

    yield wait


def test_all_that_a_dead_worker_has_left_is_taken_at_once(
    catalog: Catalog, run: workers.RunOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait until it looks for dead workers again, each time that it has taken something."""
    requests = Requests(catalog)
    made = [*requests.batch(3)[1], requests.add()]
    with catalog.database.transaction() as session:
        session.execute(update(JobRecord).values(taken_by=DEAD))
    monkeypatch.setattr(workers.Worker, "_waking", without_idling)

    def look_once() -> None:
        monkeypatch.setattr(workers, "LOOK_SECONDS", math.inf)

    worker = workers.Worker(catalog, ANYTHING, 1, run, look_once)
    ended = [each.operation_id for each in worker.work(until_empty=True) if each.type == "ended"]
    assert ended == [each.operation_id for each in made]
    assert {requests.status(each) for each in made} == {Status.SUCCESS}
