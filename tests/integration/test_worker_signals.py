"""Workers and what they run, when they are stopped, cancelled or in the way of each other."""

import os
import signal
from dataclasses import replace

import pytest

from tests.program import Program
from tests.workers import (
    archives,
    die_after_the_move,
    ended,
    jobs_left,
    operation,
    requested,
    statuses,
    stop_before_the_proof,
    wait_until,
    work_off,
    write,
)


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def test_what_may_succeed_later_is_tried_again(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt is in the log, and what follows waits for the one that succeeds."""
    monkeypatch.setenv("MGMT_BACKOFF", "0")
    program = Program(mgmt.home, mgmt.store, {"MGMT_BACKOFF": "0"}, mgmt.catalogs)
    write(program, "a")
    upload, verify = requested(program, "upload", "a", "--then", "verify")
    held = program.fork("upload", "a", arm=stop_before_the_proof)
    wait_until(lambda: "running" in statuses(program).values())
    worker = program.fork("-o", "jsonl", "worker", "--until-empty")
    wait_until(lambda: program.records.rows("SELECT max(attempt) FROM jobs")[0][0] > 1)
    held.send_signal(signal.SIGCONT)
    assert ended(held)[0] == 0
    status, output = ended(worker)
    assert status == 0, output
    assert statuses(program)[upload] == statuses(program)[verify] == "success"
    assert archives(program) == ["a.tar.gz"]


def test_cancel_stops_what_runs(mgmt: Program) -> None:
    """Also a command in the foreground; it exits as one that Ctrl-C stops, and the record says who it was."""
    program = Program(mgmt.home, mgmt.store, {}, mgmt.catalogs)
    (program.work / "big").write_bytes(os.urandom(1 << 20))
    program.ok("log")  # the catalog exists
    running = program.fork("upload", "big", "--bwlimit", "20k")
    wait_until(lambda: "running" in statuses(program).values())
    (upload,) = statuses(program)
    program.ok("cancel", upload)
    assert ended(running)[0] == 128 + signal.SIGTERM
    seen = operation(program, upload)
    assert seen["status"] == "cancelled"
    assert seen["error_message"].startswith("cancelled by ")
    assert (program.work / "big").exists()


def test_an_interrupted_command_cannot_be_cancelled(mgmt: Program) -> None:
    write(mgmt, "a")
    ended(mgmt.fork("upload", "a", arm=die_after_the_move))
    (upload,) = statuses(mgmt)
    done = mgmt.run("cancel", upload)
    assert (done.returncode, "mgmt recover" in done.stderr) == (7, True)
    mgmt.ok("upload", "a")
    assert statuses(mgmt)[upload] == "success"


def test_sigterm_leaves_what_runs_to_the_next_worker(mgmt: Program) -> None:
    (mgmt.work / "big").write_bytes(os.urandom(100 << 10))
    upload, verify = requested(mgmt, "upload", "big", "--bwlimit", "50k", "--then", "verify")
    worker = mgmt.fork("worker")
    wait_until(lambda: statuses(mgmt)[upload] == "running")
    worker.send_signal(signal.SIGTERM)
    assert ended(worker)[0] == 0
    assert statuses(mgmt) == {upload: "running", verify: "pending"}
    (left,) = mgmt.json("recover")
    assert (left["operation_id"], left["action"]) == (upload, "waits for: mgmt worker")
    work_off(mgmt)
    assert [statuses(mgmt)[each] for each in (upload, verify)] == ["success", "success"]
    assert archives(mgmt) == ["big.tar.gz"]


def test_a_worker_heeds_no_signal_that_it_was_started_to_ignore(mgmt: Program) -> None:
    """As under nohup."""
    write(mgmt, "a")

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    worker = mgmt.fork("worker", arm=ignore)
    requested(mgmt, "upload", "a", "--later")
    wait_until(lambda: not jobs_left(mgmt))
    os.kill(worker.pid, signal.SIGHUP)
    write(mgmt, "b")
    requested(mgmt, "upload", "b", "--later")
    wait_until(lambda: not jobs_left(mgmt))
    worker.send_signal(signal.SIGTERM)
    assert ended(worker)[0] == 0


@pytest.mark.parametrize("how", ["the last attempt", "cancelled"])
def test_recover_finishes_what_died_and_is_not_tried_again(mgmt: Program, how: str) -> None:
    program = replace(mgmt, environment={"MGMT_ATTEMPTS": "1" if how == "the last attempt" else "5"})
    write(program, "a")
    upload, verify = requested(program, "upload", "a", "--then", "verify")
    ended(program.fork("run", upload, arm=die_after_the_move))
    if how == "cancelled":
        assert "mgmt recover finishes or undoes them" in program.run("cancel", upload).stderr
    else:
        program.records.change("UPDATE jobs SET attempt = attempts")
        work = program.fork("worker", "--until-empty", arm=die_after_the_move)
        ended(work)
    assert statuses(program)[upload] in ("running", "success")
    program.ok("recover")
    assert statuses(program)[upload] == "success"
    assert [each["path"] for each in program.json("ls", "--location", "completed")] == [
        str(program.work / "completed" / "a")
    ]
    work_off(program)
    assert statuses(program)[verify] == ("cancelled" if how == "cancelled" else "success")
    assert program.json("queue") == []
