"""What a request means: when it runs, in what order, on what, and what it is refused."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.program import Program
from tests.workers import archives, operation, requested, statuses, work_off, write


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def test_a_chain_runs_in_order(mgmt: Program) -> None:
    write(mgmt, "a")
    ids = requested(mgmt, "upload", "a", "--then", "verify", "--then", "free")
    assert [statuses(mgmt)[each] for each in ids] == ["pending"] * 3
    assert archives(mgmt) == []
    events = work_off(mgmt)
    assert [each["operation_id"] for each in events if each["type"] == "ended"] == ids
    assert [statuses(mgmt)[each] for each in ids] == ["success"] * 3
    assert archives(mgmt) == ["a.tar.gz"]
    assert list(mgmt.work.rglob("a")) == []
    assert mgmt.json("queue") == []
    mgmt.ok("verify", "--all")
    mgmt.ok("audit", "verify")


def test_what_follows_a_failure_is_cancelled_with_the_reason(mgmt: Program) -> None:
    write(mgmt, "a")
    first, second, third = requested(mgmt, "upload", "a", "--then", "verify", "--then", "free")
    (mgmt.work / "a").unlink()
    work_off(mgmt)
    assert operation(mgmt, first)["status"] == "failed"
    for each in (second, third):
        assert operation(mgmt, each)["status"] == "cancelled"
    assert f"upload {first} ended as failed" in operation(mgmt, second)["error_message"]
    assert f"verify {second} ended as cancelled" in operation(mgmt, third)["error_message"]


def test_a_request_waits_for_the_operations_that_it_names(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    (first,) = requested(mgmt, "upload", "a", "--at", "+1h")
    (second,) = requested(mgmt, "upload", "b", "--after", first)
    assert work_off(mgmt) == []
    assert mgmt.run("run", second).returncode == 7
    mgmt.ok("run", first)
    work_off(mgmt)
    assert statuses(mgmt) == {first: "success", second: "success"}
    assert mgmt.run("upload", "a", "--after", "no-such-operation").returncode == 4


def test_nothing_can_follow_an_operation_that_has_failed(mgmt: Program) -> None:
    write(mgmt, "b")
    assert mgmt.run("upload", "missing").returncode == 4
    (failed,) = [each["operation_id"] for each in mgmt.json("log")]
    done = mgmt.run("upload", "b", "--after", failed)
    assert done.returncode == 7
    assert f"mgmt retry {failed}" in done.stderr
    assert mgmt.json("queue") == []


def test_an_operation_does_not_run_before_its_time(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    soon, late = (requested(mgmt, "upload", name, "--at", at)[0] for name, at in (("a", "+1h"), ("b", "+1d")))
    assert work_off(mgmt) == []
    (first, second) = mgmt.json("queue")
    assert (first["operation_id"], second["operation_id"]) == (soon, late)
    assert first["not_before"] < second["not_before"]
    mgmt.records.change("UPDATE jobs SET not_before = '2026-01-01 00:00:00.000000' WHERE operation_id = ?", soon)
    work_off(mgmt)
    assert archives(mgmt) == ["a.tar.gz"]
    assert [each["operation_id"] for each in mgmt.json("queue")] == [late]


def test_names_and_options_are_those_of_the_request(mgmt: Program) -> None:
    """Relative names, names like options and ones that are not UTF-8, from the folder of the request."""
    strange = os.fsdecode(b"caf\xe9 -x")
    write(mgmt, "sub/--yes", f"sub/{strange}")
    program_folder = mgmt.work / "sub"
    mgmt.ok("upload", "--later", "--key", "k.tar.gz", "--keep", "--", "--yes", cwd=program_folder)
    mgmt.ok("upload", "--later", strange, "./--yes", "--keep", cwd=program_folder)
    work_off(mgmt)
    assert sorted(archives(mgmt))[0] == "--yes.tar.gz"
    assert "k.tar.gz" in archives(mgmt)
    assert len(archives(mgmt)) == 3
    assert {each["status"] for each in mgmt.json("log")} == {"success"}


def test_a_request_is_refused_at_once_where_it_cannot_succeed(mgmt: Program) -> None:
    assert mgmt.run("upload", "missing", "--later").returncode == 4
    assert mgmt.run("upload", "--later").returncode == 2
    assert mgmt.run("delete", "a", "--later").returncode == 7  # nobody can be asked later
    assert mgmt.run("upload", "a", "-n", "--later").returncode == 2
    assert mgmt.run("log").stdout == ""


def test_run_is_idempotent(mgmt: Program) -> None:
    write(mgmt, "a")
    (upload,) = requested(mgmt, "upload", "a", "--later")
    for _ in range(2):
        mgmt.ok("run", upload)
    assert len(mgmt.json("log")) == 1
    assert archives(mgmt) == ["a.tar.gz"]
    assert mgmt.run("run", "no-such-operation").returncode == 4


def test_what_has_been_done_meanwhile_is_not_done_again(mgmt: Program) -> None:
    write(mgmt, "a")
    (upload,) = requested(mgmt, "upload", "a", "--later")
    mgmt.ok("upload", "a")
    work_off(mgmt)
    assert statuses(mgmt)[upload] == "success"
    assert archives(mgmt) == ["a.tar.gz"]


def test_a_deletion_removes_the_archive_that_was_meant_or_none(mgmt: Program) -> None:
    write(mgmt, "h")
    mgmt.ok("upload", "h")
    mgmt.ok("free", "h", "--yes")
    (delete,) = requested(mgmt, "delete", "h", "--last-copy", "--yes", "--at", "+1h")
    mgmt.ok("delete", "h", "--last-copy", "--yes")
    (mgmt.work / "h").write_text("others")
    mgmt.ok("upload", "h")
    mgmt.ok("free", "h", "--yes")
    done = mgmt.run("run", delete)
    assert done.returncode == 7
    assert "is not the archive that it was" in done.stderr
    assert operation(mgmt, delete)["status"] == "failed"
    assert archives(mgmt) == ["h.tar.gz"]
    mgmt.ok("verify", "--all")
    assert mgmt.run("delete", "no-such-archive", "--later", "--yes").returncode == 4


def test_a_request_keeps_its_store(mgmt: Program) -> None:
    """Whatever the worker is configured for, and what it has run before."""
    write(mgmt, "a", "x")
    other = replace(mgmt, store=f"file://{mgmt.home}/other")
    Path(other.store.removeprefix("file://")).mkdir()
    for program in (mgmt, other):
        program.ok("upload", "x", "--keep", "--key", "x.tar.gz")
    (upload,) = requested(other, "upload", "a", "--later")
    (delete,) = requested(mgmt, "delete", f"{mgmt.store}/x.tar.gz", "--yes", "--later")
    (verify,) = requested(mgmt, "verify", "--all", "--later")
    mgmt.ok("run", upload, delete)
    assert archives(mgmt) == []
    assert archives(other) == ["a.tar.gz", "x.tar.gz"]
    other.ok("run", verify)


def test_what_was_there_when_it_was_requested_is_archived_or_missed(mgmt: Program) -> None:
    """What an earlier upload has archived from the same place is something else."""
    write(mgmt, "a", "b")
    mgmt.ok("upload", "a", "b")
    (nothing_seen,) = requested(mgmt, "upload", "a", "--at", "+1h")
    mgmt.ok("run", nothing_seen)  # archived already
    (mgmt.work / "b").write_text("another b")
    first, second = requested(mgmt, "upload", "b", "--later") + requested(mgmt, "upload", "b", "--later")
    (mgmt.work / "b").rename(mgmt.work / "away")
    assert mgmt.run("run", first).returncode == 4
    (mgmt.work / "away").rename(mgmt.work / "b")
    mgmt.ok("upload", "b", "--key", "b2.tar.gz")
    assert mgmt.run("run", second).returncode == 4  # it asked for another key
    assert archives(mgmt) == ["a.tar.gz", "b.tar.gz", "b2.tar.gz"]


def test_a_target_may_be_requested_twice(mgmt: Program) -> None:
    """Both requests may run at the same moment; then the second waits for the first."""
    mgmt = replace(mgmt, environment={"MGMT_BACKOFF": "0", "MGMT_ATTEMPTS": "100"})
    write(mgmt, "b")
    ids = [each for _ in range(2) for each in requested(mgmt, "upload", "b", "--then", "verify")]
    work_off(mgmt)
    assert [operation(mgmt, each)["error_message"] for each in ids] == [None] * 4
    assert {statuses(mgmt)[each] for each in ids} == {"success"}
    assert archives(mgmt) == ["b.tar.gz"]


def test_cancel_ends_what_waits_and_what_follows_it(mgmt: Program) -> None:
    write(mgmt, "a")
    ids = requested(mgmt, "upload", "a", "--then", "verify")
    mgmt.ok("cancel", ids[0])
    assert [statuses(mgmt)[each] for each in ids] == ["cancelled", "cancelled"]
    assert mgmt.json("queue") == []
    assert mgmt.run("cancel", ids[0]).returncode == 7
    assert work_off(mgmt) == []
