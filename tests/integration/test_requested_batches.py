"""A requested batch becomes an operation for each target, which workers share, and ends with the last of them."""

import json

import pytest

from tests.program import Program
from tests.workers import archives, ended, operation, requested, statuses, work_off, write


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def test_a_batch_becomes_an_operation_for_each_target(mgmt: Program) -> None:
    write(mgmt, "all/a", "all/b", "all/c")
    (batch,) = requested(mgmt, "upload", "--all=all", "--later", "--tag", "who=me", "--then", "verify")
    work_off(mgmt, "--slots", "2")
    assert archives(mgmt) == ["a.tar.gz", "b.tar.gz", "c.tar.gz"]
    children = [each for each in mgmt.json("log") if each["parent_id"] == batch]
    assert sorted(each["operation_type"] for each in children) == ["upload"] * 3 + ["verify"] * 3
    assert {each["status"] for each in children} == {"success"}
    assert operation(mgmt, batch)["status"] == "success"
    assert {json.dumps(each["tags"]) for each in mgmt.json("ls", "--location", "s3")} == {'{"who": "me"}'}


def test_a_batch_without_targets_succeeds(mgmt: Program) -> None:
    (mgmt.work / "none").mkdir()
    (first,) = requested(mgmt, "upload", "--all=none", "--later")
    (second,) = requested(mgmt, "verify", "--all", "--later")
    work_off(mgmt)
    assert [statuses(mgmt)[each] for each in (first, second)] == ["success", "success"]


def test_a_batch_is_partial_when_a_target_fails(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    (batch,) = requested(mgmt, "upload", "a", "b", "--later")
    (mgmt.work / "b").unlink()
    work_off(mgmt)
    seen = operation(mgmt, batch)
    assert (seen["status"], seen["error_message"]) == ("partial", "1 of 2 targets was not done: 1 failed")


def test_cancel_ends_all_of_a_batch(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    (batch,) = requested(mgmt, "upload", "a", "b", "--later", "--then", "verify")
    mgmt.ok("run", batch)
    assert len(mgmt.json("queue")) == 5
    mgmt.ok("cancel", batch)
    assert set(statuses(mgmt).values()) == {"cancelled"}
    assert mgmt.json("queue") == []


def test_two_workers_share_a_batch(mgmt: Program) -> None:
    write(mgmt, *(f"all/{number}" for number in range(6)))
    (batch,) = requested(mgmt, "upload", "--all=all", "--later", "--then", "verify")
    workers = [mgmt.fork("-o", "jsonl", "worker", "--slots", "1", "--until-empty") for _ in range(2)]
    for each in workers:
        assert ended(each)[0] == 0
    work_off(mgmt)
    children = [each for each in mgmt.json("log", "--limit", "1000") if each["parent_id"] == batch]
    assert len(children) == 12
    assert {each["status"] for each in children} == {"success"}
    assert len(archives(mgmt)) == 6
