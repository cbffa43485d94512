"""A retry runs each target once, however often it was tried: only its newest attempt counts."""

import os
import shlex
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import become
from tests.program import Program

OK, PARTIAL, NOT_FOUND, REFUSED = 0, 3, 4, 7


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    """A request is tried once."""
    on_directory.ok("config", "set", "attempts", "1")
    for name in ("a", "b", "c"):
        (on_directory.work / name).write_text(name)
    return on_directory


def away(program: Program, *names: str) -> None:
    for name in names:
        (program.work / name).rename(program.home / name)


def back(program: Program, *names: str) -> None:
    for name in names:
        (program.home / name).rename(program.work / name)


def operations(program: Program, operation_type: str) -> list[Any]:
    """The newest first."""
    return list(program.json("log", "--limit", "100", "--type", operation_type))


def targets(program: Program, *words: str) -> list[str]:
    """The names of the files that a retry would run."""
    plan = program.json("retry", *words, "-n")
    words_of = [shlex.split(each["command_line"]) for each in plan]
    return sorted(os.path.basename(word) for some in words_of for word in some[some.index("--") + 1 :])


def requested(program: Program, *words: str) -> list[str]:
    return program.ok("-q", *words).split()


@pytest.mark.parametrize("missing", ["b", "bc"])
@pytest.mark.parametrize("later", [False, True], ids=["here", "later"])
def test_what_a_retry_of_a_batch_did_not_do_is_retried_once(mgmt: Program, missing: str, later: bool) -> None:
    away(mgmt, *missing)
    assert mgmt.run("upload", "a", "b", "c").returncode == PARTIAL
    (batch,) = operations(mgmt, "batch")
    for _ in range(2):
        if later:
            requested(mgmt, "retry", "--failed", "--later")
            mgmt.run("worker", "--until-empty")
        else:
            assert mgmt.run("retry", "--failed").returncode != OK
        assert targets(mgmt, "--failed") == [*missing]
        assert targets(mgmt, batch["operation_id"]) == [*missing]
    newest = operations(mgmt, "upload")[0]["operation_id"]
    assert newest in [each for row in mgmt.json("retry", "--failed", "-n") for each in row["repeats"]]
    back(mgmt, *missing)
    before = len(operations(mgmt, "upload"))
    mgmt.ok("retry", "--failed")
    assert len(operations(mgmt, "upload")) == before + len(missing)
    assert mgmt.json("retry", "--failed", "-n") == mgmt.json("retry", batch["operation_id"], "-n") == []


def test_what_several_batches_did_not_do_is_retried_once(mgmt: Program) -> None:
    """As every night, with a list of the same names."""
    away(mgmt, "b", "c")
    for _ in range(3):
        mgmt.run("upload", "a", "b", "c")
    assert mgmt.run("upload", "b").returncode == NOT_FOUND
    assert targets(mgmt, "--failed") == ["b", "c"]
    back(mgmt, "b", "c")
    mgmt.ok("retry", "--failed")
    assert mgmt.json("retry", "--failed", "-n") == []


def test_a_removal_that_failed_again_is_retried_once_as_what_it_meant(mgmt: Program) -> None:
    mgmt.ok("upload", "a")
    (mgmt.work / "completed" / "a").rename(mgmt.home / "a")
    assert mgmt.run("delete", "a", "--yes").returncode == REFUSED
    (failed,) = operations(mgmt, "delete")
    for _ in range(2):
        requested(mgmt, "retry", "--failed", "--later", "--yes")
        mgmt.run("worker", "--until-empty")
        (plan,) = mgmt.json("retry", "--failed", "-n")
        assert plan["repeats"] == [failed["operation_id"]]
    (mgmt.home / "a").rename(mgmt.work / "completed" / "a")
    mgmt.ok("retry", "--failed", "--yes")
    assert mgmt.json("retry", "--failed", "-n") == mgmt.json("ls", "--location", "s3") == []


@pytest.mark.parametrize("words", [("class", "a", "GLACIER"), ("restore", "a"), ("tag", "a", "x=y")], ids=" ".join)
def test_what_failed_of_any_kind_is_retried(mgmt: Program, words: tuple[str, ...]) -> None:
    mgmt.ok("upload", "a")
    requested(mgmt, *words, "--later")
    mgmt.ok("delete", "a", "--yes")
    mgmt.run("worker", "--until-empty")
    (plan,) = mgmt.json("retry", "--failed", "-n")
    assert plan["repeats"] == [operations(mgmt, words[0])[0]["operation_id"]]


def test_what_is_pending_again_is_not_retried(mgmt: Program) -> None:
    away(mgmt, "b")
    mgmt.run("upload", "a", "b", "c")
    requested(mgmt, "retry", "--failed", "--later")
    assert targets(mgmt, "--failed") == []


def test_what_somebody_has_cancelled_since_is_left_alone(mgmt: Program) -> None:
    away(mgmt, "b", "c")
    mgmt.run("upload", "a", "b", "c")
    requested(mgmt, "retry", "--failed", "--later")
    last, _ = operations(mgmt, "upload")[:2]
    mgmt.ok("cancel", last["operation_id"])
    mgmt.run("worker", "--until-empty")
    (left,) = {"b", "c"} - {Path(last["target_path"]).name}
    assert targets(mgmt, "--failed") == [left]
    assert targets(mgmt, last["operation_id"]) == [Path(last["target_path"]).name], "but it can be named"


def test_a_batch_that_was_not_begun_counts_by_its_repeat(mgmt: Program) -> None:
    (batch,) = requested(mgmt, "upload", "a", "b", "c", "--later")
    mgmt.ok("cancel", batch)
    away(mgmt, "b")
    requested(mgmt, "retry", batch, "--later")
    mgmt.run("worker", "--until-empty")
    assert targets(mgmt, batch) == targets(mgmt, "--failed") == ["b"]
    back(mgmt, "b")
    mgmt.ok("retry", batch)
    assert targets(mgmt, batch) == []


def die_at_the_second() -> None:
    """In the process of an upload: die before the second target is begun."""
    upload = import_module("mgmt.services.upload")
    original, seen = vars(upload)["upload"], list[object]()

    def dying(*arguments: Any, **values: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **values)

    vars(upload)["upload"] = dying


def killed_at_the_second(program: Program, *names: str) -> None:
    killed = program.fork("upload", *names, "--jobs", "1", arm=die_at_the_second)
    killed.wait(60)
    killed.communicate()
    program.run("recover")


@pytest.mark.parametrize("by_hand", [False, True], ids=["retried", "by-hand"])
def test_a_target_that_a_batch_did_not_come_to_counts_by_what_began_it_since(mgmt: Program, by_hand: bool) -> None:
    for name in ("a", "b", "c"):
        (mgmt.work / name).write_bytes(bytes(2_000_000))  # each by itself
    killed_at_the_second(mgmt, "a", "b", "c")
    (batch,) = operations(mgmt, "batch")
    assert targets(mgmt, "--failed") == targets(mgmt, batch["operation_id"]) == ["b", "c"]
    away(mgmt, "b")
    assert mgmt.run(*(["upload", "b", "c"] if by_hand else ["retry", "--failed"])).returncode == PARTIAL
    assert targets(mgmt, "--failed") == targets(mgmt, batch["operation_id"]) == ["b"]
    back(mgmt, "b")
    mgmt.ok("retry", "--failed")
    assert targets(mgmt, "--failed") == targets(mgmt, batch["operation_id"]) == []


def test_a_target_that_several_batches_did_not_come_to_is_retried_once(mgmt: Program) -> None:
    """As a machine that is switched off at the same time each night."""
    away(mgmt, "b")
    mgmt.run("upload", "b", "a")
    back(mgmt, "b")
    for first in ("d", "e"):
        (mgmt.work / first).write_text(first)
        killed_at_the_second(mgmt, first, "b", "c")
    assert targets(mgmt, "--failed") == ["b", "c"]
    mgmt.ok("retry", "--failed")
    assert targets(mgmt, "--failed") == []
    for batch in operations(mgmt, "batch"):
        if batch["status"] not in ("success",):
            assert targets(mgmt, batch["operation_id"]) == []


def test_who_waits_for_either_of_two_batches_waits_for_what_repeats_both(mgmt: Program) -> None:
    (mgmt.work / "d").write_text("d")
    (mgmt.work / "e").write_text("e")
    (first,) = requested(mgmt, "upload", "a", "b", "--later")
    requested(mgmt, "upload", "c", "d", "--later")
    (behind_first,) = requested(mgmt, "upload", "e", "--after", first)
    away(mgmt, "b", "c")
    mgmt.run("worker", "--until-empty")
    back(mgmt, "b", "c")
    requested(mgmt, "retry", "--failed", "--later")
    mgmt.ok("worker", "--until-empty")
    done = [each for each in operations(mgmt, "upload") if each["retry_of"] == behind_first]
    assert [each["status"] for each in done] == ["success"]


def test_the_same_path_on_another_machine_is_another_target(mgmt: Program) -> None:
    away(mgmt, "b")
    mgmt.run("upload", "b")

    def move() -> None:
        become("elsewhere")

    there = mgmt.fork("upload", "b", arm=move)
    there.wait(60)
    there.communicate()
    assert targets(mgmt, "--failed") == ["b"]
