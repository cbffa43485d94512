"""`verify --all` on request: the search for unknown objects is part of the batch."""

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def litter(program: Program) -> None:
    """Put something into the store that the catalog does not know."""
    Path(program.store.removeprefix("file://"), "junk").write_text("junk")


def archive(program: Program, *names: str) -> None:
    for each in names:
        (program.work / each).write_text(each)
    program.ok("upload", *names)


def logged(program: Program, operation: str) -> dict[str, Any]:
    (found,) = [each for each in program.json("log") if each["operation_id"] == operation]
    return dict(found)


def searches(program: Program, batch: str) -> list[str]:
    """The ends of the searches of a batch, the last one first."""
    return [
        each["status"]
        for each in program.json("log")
        if each["parent_id"] == batch and each["target_path"] == program.store
    ]


def test_what_the_catalog_lacks_is_a_failure_of_the_batch(mgmt: Program) -> None:
    archive(mgmt, "a")
    litter(mgmt)
    batch = mgmt.ok("-q", "verify", "--all", "--later").strip()
    after = mgmt.ok("-q", "verify", "a", "--after", batch).strip()
    worker = mgmt.run("worker", "--until-empty")
    assert (worker.returncode, "1 operation was not done" in worker.stderr) == (3, True), worker
    seen = logged(mgmt, batch)
    assert (seen["status"], seen["error_message"]) == ("partial", "1 of 2 targets was not done: 1 failed")
    assert (searches(mgmt, batch), logged(mgmt, after)["status"]) == (["failed"], "cancelled")


def test_a_batch_without_archives_fails_for_what_the_catalog_lacks(mgmt: Program) -> None:
    litter(mgmt)
    batch = mgmt.ok("-q", "verify", "--all", "--later").strip()
    assert mgmt.run("run", batch).returncode == 8
    assert (logged(mgmt, batch)["status"], searches(mgmt, batch)) == ("failed", ["failed"])
    assert mgmt.json("queue") == []


def test_a_store_without_unknown_objects_lets_the_batch_succeed(mgmt: Program) -> None:
    archive(mgmt, "a", "b")
    batch = mgmt.ok("-q", "verify", "--all", "--later").strip()
    mgmt.ok("worker", "--until-empty")
    assert (logged(mgmt, batch)["status"], searches(mgmt, batch)) == ("success", ["success"])


@pytest.mark.parametrize(
    ("module", "function", "ends"),
    [
        ("mgmt.services.verify", "_unknown", ["failed"]),
        ("mgmt.services.steps.requests", "islice", ["failed", "failed"]),
    ],
    ids=["search", "fan-out"],
)
def test_a_search_that_was_killed_is_made_by_the_next_process(
    module: str, function: str, ends: list[str], mgmt: Program
) -> None:
    """One that had ended before the batch fanned out is made again, and counts once."""
    archive(mgmt, "a")
    litter(mgmt)
    batch = mgmt.ok("-q", "verify", "--all", "--later").strip()

    def arm() -> None:
        vars(import_module(module))[function] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

    killed = mgmt.fork("run", batch, arm=arm)
    assert killed.wait(600) == -signal.SIGKILL
    killed.communicate()
    assert logged(mgmt, batch)["status"] == "pending"
    assert mgmt.run("run", batch).returncode == 8
    mgmt.ok("worker", "--until-empty")
    seen = logged(mgmt, batch)
    assert (seen["status"], seen["error_message"]) == ("partial", "1 of 2 targets was not done: 1 failed")
    assert searches(mgmt, batch) == ends
    assert mgmt.json("recover") == []
