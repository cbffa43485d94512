"""Requested batches that ended before their targets had become operations are repeated as they were requested."""

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.program import Program

OK, PARTIAL, NOT_FOUND, REFUSED = 0, 3, 4, 7


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    """A request is tried once."""
    on_directory.ok("config", "set", "attempts", "1")
    return on_directory


def write(program: Program, *names: str) -> None:
    for name in names:
        path = program.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def requested(program: Program, *words: str) -> list[str]:
    return program.ok("-q", *words).split()


def operations(program: Program, operation_type: str | None = None) -> list[Any]:
    """The newest first."""
    found = program.json("log", "--limit", "100")
    return [each for each in found if operation_type in (None, each["operation_type"])]


def status(program: Program, operation_id: str) -> str:
    return next(str(each["status"]) for each in operations(program) if each["operation_id"] == operation_id)


def archives(program: Program) -> list[str]:
    return sorted(each.name for each in Path(program.store.removeprefix("file://")).rglob("*.tar.gz"))


def die_after_a_page() -> None:
    """In a worker's process: die when the first target of a batch has become an operation."""
    requests = import_module("mgmt.services.steps.requests")
    vars(requests)["PAGE"] = 1
    fan_out = vars(requests)["FanOut"]
    of_one = fan_out._of_one

    def dying(self: Any, arguments: Any) -> Any:
        if self.catalog.queue.begun_fan_out(self.batch.operation_id):
            os.kill(os.getpid(), signal.SIGKILL)
        return of_one(self, arguments)

    fan_out._of_one = dying


def die_while_fanning_out(program: Program) -> None:
    worker = program.fork("worker", "--until-empty", arm=die_after_a_page)
    worker.wait(600)
    worker.communicate()
    assert worker.returncode == PARTIAL


@pytest.mark.parametrize("words", [("a", "b", "c"), ("--all=.",)], ids=["names", "all"])
def test_a_batch_that_died_while_it_became_operations_is_retried_wholly(mgmt: Program, words: tuple[str, ...]) -> None:
    write(mgmt, "a", "b", "c")
    (batch,) = requested(mgmt, "upload", *words, "--later", "--tag", "x=y")
    die_while_fanning_out(mgmt)
    assert (status(mgmt, batch), len(operations(mgmt, "upload"))) == ("failed", 1)
    (plan,) = mgmt.json("retry", batch, "-n")
    assert plan["repeats"] == [batch]
    (again,) = requested(mgmt, "retry", batch, "--later")
    mgmt.ok("worker", "--until-empty")
    assert (status(mgmt, again), archives(mgmt)) == ("success", ["a.tar.gz", "b.tar.gz", "c.tar.gz"])
    tags = [each["command_args"]["tags"] for each in operations(mgmt, "upload") if each["parent_id"] == again]
    assert tags == [{"x": "y"}] * 3
    assert mgmt.json("retry", batch, "-n") == []


def test_members_of_a_batch_that_died_are_all_retried(mgmt: Program) -> None:
    write(mgmt, "f/a", "f/b", "f/c")
    mgmt.ok("upload", "f")
    members = [f"--member=f/{each}" for each in "abc"]
    (batch,) = requested(mgmt, "download", "f", *members, "--to", "back", "--later")
    die_while_fanning_out(mgmt)
    assert status(mgmt, batch) == "failed"
    mgmt.ok("retry", batch, cwd=mgmt.home)
    assert sorted(each.name for each in (mgmt.work / "back").iterdir()) == ["a", "b", "c"]


def test_another_batch_of_as_many_targets_is_not_the_same(mgmt: Program) -> None:
    write(mgmt, "a", "b", "c", "d")
    (batch,) = requested(mgmt, "upload", "a", "b", "--later")
    mgmt.ok("cancel", batch)
    requested(mgmt, "upload", "c", "d", "--later")
    mgmt.ok("worker", "--until-empty")
    mgmt.ok("retry", batch)
    assert len(archives(mgmt)) == 4


def test_a_target_that_was_retried_by_itself_is_not_retried_again(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    (batch,) = requested(mgmt, "upload", "a", "b", "--later")
    mgmt.ok("run", batch)
    first, second = sorted(operations(mgmt, "upload"), key=lambda each: str(each["target_path"]))
    mgmt.ok("cancel", batch)
    mgmt.ok("retry", first["operation_id"])
    (plan,) = mgmt.json("retry", batch, "-n")
    assert second["operation_id"] in plan["repeats"]
    mgmt.ok("retry", batch)
    assert archives(mgmt) == ["a.tar.gz", "b.tar.gz"]
    assert mgmt.json("retry", batch, "-n") == []


def test_a_batch_is_repeated_in_the_store_that_it_was_requested_for(mgmt: Program) -> None:
    for name in ("a", "b"):
        write(mgmt, name)
    other = f"file://{mgmt.home}/other"
    for words in (("upload", "a", "b"), ("verify", "a", "b"), ("verify", "a")):
        (batch,) = requested(mgmt, "--store", other, *words, "--later")
        mgmt.ok("cancel", batch)
        for verb in ("retry", "replay"):
            (plan,) = mgmt.json(verb, batch, "-n")
            assert f"--store {other}" in plan["command_line"]
        (again,) = requested(mgmt, "retry", batch, "--later")
        mgmt.ok("worker", "--until-empty")
        assert status(mgmt, again) == "success"
    assert archives(mgmt) == []
    assert {each["store"] for each in operations(mgmt, "upload") if each["status"] == "success"} == {other}


def only_copies(program: Program, *names: str) -> None:
    """Archive these, and remove all other copies of them."""
    write(program, *names)
    program.ok("upload", *names)
    program.ok("free", *names, "--yes")


@pytest.mark.parametrize("later", [(), ("--later",)], ids=["here", "later"])
def test_a_requested_batch_of_deletions_is_repeated(mgmt: Program, later: tuple[str, ...]) -> None:
    only_copies(mgmt, "a", "b", "c")
    requested(mgmt, "delete", "a", "b", "--last-copy", "--later", "--yes")
    batch = operations(mgmt, "batch")[0]["operation_id"]
    mgmt.ok("cancel", batch)
    assert mgmt.run("retry", batch, *later).returncode == REFUSED, "there is no terminal to confirm on"
    mgmt.ok("retry", batch, "--yes", *later)
    mgmt.ok("worker", "--until-empty")
    assert archives(mgmt) == ["c.tar.gz"]
    done = mgmt.run("replay", batch, "--yes")
    assert (done.returncode, "deleted already" in done.stderr) == (REFUSED, True)


@pytest.mark.parametrize("later", [(), ("--later",)], ids=["here", "later"])
def test_a_repeated_deletion_never_removes_a_later_archive(mgmt: Program, later: tuple[str, ...]) -> None:
    """Neither one that was made before the repeat was requested, nor one that was made before it runs."""
    only_copies(mgmt, "a", "b", "c")
    requested(mgmt, "delete", "a", "b", "c", "--last-copy", "--later", "--yes")
    batch = operations(mgmt, "batch")[0]["operation_id"]
    mgmt.ok("cancel", batch)
    mgmt.ok("delete", "a", "--last-copy", "--yes")
    only_copies(mgmt, "a")
    done = mgmt.run("retry", batch, "--yes", *later)
    assert (done.returncode, "a.tar.gz holds another archive by now" in done.stderr) == (OK, True), done.stderr
    if later:
        mgmt.ok("delete", "b", "--last-copy", "--yes")
        only_copies(mgmt, "b")
    mgmt.run("worker", "--until-empty")
    assert archives(mgmt) == (["a.tar.gz", "b.tar.gz"] if later else ["a.tar.gz"])
    mgmt.ok("verify", "a")


def test_a_rebuilt_archive_is_deleted_only_if_it_is_that_which_was_meant(mgmt: Program) -> None:
    """Its URL alone names it, as no upload is known to have made it."""
    only_copies(mgmt, "a", "b")
    other = Program(mgmt.home / "other", mgmt.store, mgmt.environment, mgmt.catalogs)
    other.ok("db", "rebuild")
    requested(other, "delete", "a", "b", "--last-copy", "--later", "--yes")
    batch = operations(other, "batch")[0]["operation_id"]
    other.ok("cancel", batch)
    requested(other, "retry", batch, "--later", "--yes")
    other.ok("delete", f"{mgmt.store}/a.tar.gz", "--last-copy", "--yes")
    only_copies(other, "a")
    assert other.run("worker", "--until-empty").returncode == PARTIAL
    assert archives(mgmt) == ["a.tar.gz"]
    other.ok("verify", "a")


def test_a_requested_batch_of_copies_to_free_is_repeated(mgmt: Program) -> None:
    write(mgmt, "a", "b", "c")
    mgmt.ok("upload", "a", "b", "c")
    requested(mgmt, "free", "a", "completed/b", "--later", "--yes")
    batch = operations(mgmt, "batch")[0]
    assert batch["command_args"]["names"] == [str(mgmt.work / "completed" / each) for each in "ab"]
    mgmt.ok("cancel", batch["operation_id"])
    write(mgmt, "a2")
    (mgmt.work / "completed" / "a").unlink()
    (mgmt.work / "a2").rename(mgmt.work / "a")
    mgmt.ok("upload", "a", "--key", "another")
    mgmt.ok("retry", batch["operation_id"], "--yes", cwd=mgmt.home)
    assert sorted(each.name for each in (mgmt.work / "completed").iterdir()) == ["a", "c"]


def test_what_a_batch_would_have_freed_is_not_chosen_anew(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    mgmt.ok("upload", "a", "b")
    (batch,) = requested(mgmt, "free", "--all", "--later", "--yes")
    mgmt.ok("cancel", batch)
    done = mgmt.run("retry", batch, "--yes")
    assert (done.returncode, "mgmt free --all" in done.stderr) == (REFUSED, True)
    assert len(list((mgmt.work / "completed").iterdir())) == 2
