"""`mgmt run`: one process runs a requested operation, and what becomes of it is what the command says."""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from mgmt.catalog.records.process import Owner
from tests.forked import Forked
from tests.program import Program
from tests.waiting import until

SECONDS = 600


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


@pytest.fixture
def batch(mgmt: Program) -> str:
    """A requested batch of five archives."""
    names = [f"f{number}" for number in range(5)]
    for each in names:
        (mgmt.work / each).write_text(each)
    mgmt.ok("upload", *names)
    return mgmt.ok("-q", "verify", *names, "--later").strip()


def at_page(number: int, happens: int) -> Callable[[], None]:
    """Lets a process get the signal `happens` before it records the page `number` of a batch, each of one target."""

    def arm() -> None:
        module = vars(import_module("mgmt.services.steps.requests"))
        islice, seen = module["islice"], iter(range(number + 1))

        def signalled(*arguments: Any) -> Any:
            if next(seen, None) == number:
                os.kill(os.getpid(), happens)
            return islice(*arguments)

        module["PAGE"], module["islice"] = 1, signalled

    return arm


def wait_until_stopped(process: Forked) -> None:
    how = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    until(lambda: os.waitid(os.P_PID, process.pid, how), "the process to be stopped")


def parts_of(program: Program, batch: str) -> list[str]:
    """The names of what the batch has operations for."""
    parts = [each["target_name"] for each in program.json("log") if each["parent_id"] == batch]
    return sorted(each.removesuffix(".tar.gz") for each in parts)


def status(program: Program, operation: str) -> str:
    (found,) = [each["status"] for each in program.json("log") if each["operation_id"] == operation]
    return str(found)


@pytest.mark.parametrize("page", [0, 2])
def test_one_process_at_a_time_fans_a_batch_out(page: int, batch: str, mgmt: Program) -> None:
    first = mgmt.fork("run", batch, arm=at_page(page, signal.SIGSTOP))
    wait_until_stopped(first)
    (seen,) = [each for each in mgmt.json("queue") if each["operation_id"] == batch]
    assert (seen["status"], seen["position"]) == ("taken", None)
    assert seen["runs_on"].endswith(f", process {first.pid}")
    done = mgmt.run("run", batch)
    assert done.returncode == 11, done.stderr
    assert f"was taken by process {first.pid}" in done.stderr
    first.send_signal(signal.SIGCONT)
    assert first.wait(SECONDS) == 0, first.communicate()
    first.communicate()
    assert parts_of(mgmt, batch) == [f"f{number}" for number in range(5)]
    mgmt.ok("worker", "--until-empty")
    assert parts_of(mgmt, batch) == [f"f{number}" for number in range(5)]
    assert status(mgmt, batch) == "success"


def test_a_batch_whose_process_was_killed_is_fanned_out_by_the_next(batch: str, mgmt: Program) -> None:
    first = mgmt.fork("run", batch, arm=at_page(2, signal.SIGKILL))
    assert first.wait(SECONDS) == -signal.SIGKILL
    first.communicate()
    assert [each["status"] for each in mgmt.json("queue")] == ["waiting", "held", "held"]
    mgmt.ok("run", batch)
    assert parts_of(mgmt, batch) == [f"f{number}" for number in range(5)]
    mgmt.ok("worker", "--until-empty")
    assert status(mgmt, batch) == "success"


def test_a_process_that_has_lost_the_batch_adds_nothing_to_it(batch: str, mgmt: Program) -> None:
    """As after `mgmt recover --host` for a machine that was not down."""
    first = mgmt.fork("run", batch, arm=at_page(2, signal.SIGSTOP))
    wait_until_stopped(first)
    mgmt.records.change(f"UPDATE jobs SET taken_by = NULL WHERE operation_id = '{batch}'")
    mgmt.ok("run", batch)
    first.send_signal(signal.SIGCONT)
    assert first.wait(SECONDS) == 7
    assert "has fanned out already" in first.communicate()[1]
    mgmt.ok("worker", "--until-empty")
    assert parts_of(mgmt, batch) == [f"f{number}" for number in range(5)]
    assert status(mgmt, batch) == "success"


def test_what_has_not_succeeded_is_not_run_again_and_says_so(mgmt: Program) -> None:
    (mgmt.work / "a").write_text("a")
    ids = mgmt.ok("-q", "upload", "a", "--then", "verify").split()
    (mgmt.work / "a").rename(mgmt.work / "b")
    assert mgmt.run("run", ids[0]).returncode == 4
    for each, ended in zip(ids, ("failed", "cancelled"), strict=True):
        done = mgmt.run("run", each)
        assert (done.returncode, f"has ended as {ended}" in done.stderr) == (7, True), done.stderr
        assert f"mgmt retry {each}" in done.stderr
    again = mgmt.ok("-q", "upload", "b", "--later").strip()
    for _ in range(2):
        mgmt.ok("run", again)


def test_a_job_that_was_taken_where_nobody_can_look_shows_by_whom(mgmt: Program) -> None:
    (mgmt.work / "a").write_text("a")
    upload = mgmt.ok("-q", "upload", "a", "--later").strip()
    here = Owner.current()
    container = Owner(here.host, here.boot.partition("+")[0] + "+1", 7, "7")
    mgmt.records.change(f"UPDATE jobs SET taken_by = '{container}'")
    (seen,) = mgmt.json("queue")
    assert (seen["status"], seen["runs_on"], seen["position"]) == ("taken", f"{here.host}, process 7", None)
    done = mgmt.run("run", upload)
    assert done.returncode == 11
    assert f"mgmt recover --host {here.host}" in done.stderr
    mgmt.ok("recover", "--host", here.host)
    mgmt.ok("run", upload)
    assert mgmt.json("queue") == []
