"""What waits for an operation that fails is asked for again with it."""

from pathlib import Path
from typing import Any

import pytest

from tests.program import Program

OK, NOT_FOUND, REFUSED = 0, 4, 7


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def write(program: Program, *names: str) -> None:
    for name in names:
        (program.work / name).write_text(name)


def requested(program: Program, *words: str) -> list[str]:
    return program.ok("-q", *words).split()


def work_off(program: Program) -> None:
    assert program.run("-q", "worker", "--until-empty").returncode in (0, 3)


def operations(program: Program) -> dict[str, dict[str, Any]]:
    """By id, the oldest first."""
    return {each["operation_id"]: each for each in reversed(program.json("log", "--limit", "100"))}


def statuses(program: Program, *ids: str) -> list[str]:
    found = operations(program)
    return [found[each]["status"] for each in ids]


def retried(program: Program, *words: str) -> dict[str, str]:
    """The new operations of a retry, by those that they repeat; the worker runs them."""
    new = requested(program, "retry", "--later", *words)
    work_off(program)
    found = operations(program)
    return {found[each]["retry_of"]: each for each in new}


def failing_upload(program: Program, *words: str) -> list[str]:
    """A request to upload `a`, which is gone by the time that it runs."""
    write(program, "a")
    ids = requested(program, "upload", "a", *(words or ["--later"]))
    (program.work / "a").rename(program.work / "away")
    return ids


def mended(program: Program) -> None:
    (program.work / "away").rename(program.work / "a")


def test_what_waited_for_a_failed_operation_is_retried_with_it(mgmt: Program) -> None:
    (first,) = failing_upload(mgmt)
    write(mgmt, "b", "c")
    (second,) = requested(mgmt, "upload", "b", "--after", first, "--tag", "x=y")
    (third,) = requested(mgmt, "verify", "--all", "--after", second, "--after", first)
    work_off(mgmt)
    assert statuses(mgmt, first, second, third) == ["failed", "cancelled", "cancelled"]
    mended(mgmt)
    refused = mgmt.run("retry", first)
    assert (refused.returncode, "is followed by" in refused.stderr) == (REFUSED, True)
    assert f"mgmt retry --later {first}" in refused.stderr
    plan = mgmt.json("retry", first, "--later", "-n")
    assert [each["repeats"] for each in plan] == [[first], [second], [third]]
    assert [each["after"] for each in plan] == [[], [first], [second, first]]
    new = retried(mgmt, first)
    assert list(new) == [first, second, third]
    assert statuses(mgmt, *new.values()) == ["success"] * 3
    again = operations(mgmt)
    assert again[new[third]]["command_args"]["after"] == [new[second], new[first]]
    assert again[new[second]]["command_args"]["tags"] == {"x": "y"}
    done = mgmt.run("retry", first)
    assert (done.returncode, "has succeeded" in done.stderr) == (OK, True)
    assert mgmt.json("retry", first, second, third, "-n") == []


def test_what_waits_again_waits_for_the_new_operation(mgmt: Program) -> None:
    """If that fails too, all are cancelled again, and can be retried again."""
    (first,) = failing_upload(mgmt)
    write(mgmt, "b")
    (second,) = requested(mgmt, "upload", "b", "--after", first)
    work_off(mgmt)
    new = retried(mgmt, first)
    assert statuses(mgmt, new[first], new[second]) == ["failed", "cancelled"]
    mended(mgmt)
    newest = retried(mgmt, "--failed")
    assert statuses(mgmt, *newest.values()) == ["success", "success"]
    assert list(newest) == [new[first], new[second]]


def test_a_chain_of_commands_and_what_waits_for_its_end_are_retried(mgmt: Program) -> None:
    ids = failing_upload(mgmt, "--then", "verify", "--then", "free")
    write(mgmt, "b")
    (last,) = requested(mgmt, "upload", "b", "--after", ids[2])
    work_off(mgmt)
    assert statuses(mgmt, *ids, last) == ["failed", *["cancelled"] * 3]
    mended(mgmt)
    (first, second) = mgmt.json("retry", ids[0], "--later", "-n")
    assert (sorted(first["repeats"]), second["repeats"], second["after"]) == (sorted(ids), [last], [ids[2]])
    assert "--then=verify --then=free" in first["command_line"]
    new = retried(mgmt, ids[0])
    assert list(new) == [*ids, last]
    assert statuses(mgmt, *new.values()) == ["success"] * 4
    assert operations(mgmt)[new[last]]["command_args"]["after"] == [new[ids[2]]]


def test_what_follows_a_failed_follower_is_retried_with_that(mgmt: Program) -> None:
    write(mgmt, "a")
    upload, verify, free = requested(mgmt, "upload", "a", "--then", "verify", "--then", "free")
    mgmt.ok("run", upload)
    archive = Path(mgmt.store.removeprefix("file://"), "a.tar.gz")
    archive.rename(mgmt.home / "away")
    work_off(mgmt)
    assert statuses(mgmt, upload, verify, free) == ["success", "failed", "cancelled"]
    (mgmt.home / "away").rename(archive)
    new = retried(mgmt, verify, "--yes")
    assert list(new) == [verify, free]
    assert statuses(mgmt, *new.values()) == ["success", "success"]
    assert not (mgmt.work / "completed" / "a").exists()


def test_what_waited_for_a_batch_waits_for_all_that_is_retried_of_it(mgmt: Program) -> None:
    write(mgmt, "a", "b", "c", "d")
    (batch,) = requested(mgmt, "upload", "a", "b", "c", "--then", "verify")
    (last,) = requested(mgmt, "upload", "d", "--after", batch)
    for name in ("a", "b"):
        (mgmt.work / name).rename(mgmt.work / f"{name}-away")
    work_off(mgmt)
    assert statuses(mgmt, batch, last) == ["partial", "cancelled"]
    for name in ("a", "b"):
        (mgmt.work / f"{name}-away").rename(mgmt.work / name)
    new = requested(mgmt, "retry", "--later", batch)
    found = operations(mgmt)
    uploads = [each for each in new if found[each]["operation_type"] == "upload"]
    verifications = [each for each in new if found[each]["operation_type"] == "verify"]
    assert (len(uploads), len(verifications)) == (3, 2)
    assert found[uploads[2]]["retry_of"] == last
    assert sorted(found[uploads[2]]["command_args"]["after"]) == sorted(uploads[:2])
    work_off(mgmt)
    assert statuses(mgmt, *new) == ["success"] * 5


def test_what_waits_for_something_else_that_failed_is_not_retried(mgmt: Program) -> None:
    (first,) = failing_upload(mgmt)
    write(mgmt, "b", "c")
    (other,) = requested(mgmt, "upload", "b", "--later")
    (last,) = requested(mgmt, "upload", "c", "--after", first, "--after", other)
    (mgmt.work / "b").unlink()
    work_off(mgmt)
    mended(mgmt)
    done = mgmt.run("retry", first, "--later")
    assert (done.returncode, f"waits for upload {other}, too" in done.stderr) == (OK, True), done.stderr
    work_off(mgmt)
    write(mgmt, "b")
    again, waiting = requested(mgmt, "retry", other, "--later", "--at", "+1h")
    assert mgmt.json("retry", "--later", last, "-n") == []
    assert operations(mgmt)[waiting]["command_args"]["after"] == [again]
    mgmt.ok("run", again)
    work_off(mgmt)
    assert statuses(mgmt, again, waiting) == ["success", "success"]


def test_what_somebody_has_cancelled_is_not_brought_back(mgmt: Program) -> None:
    (first,) = failing_upload(mgmt)
    write(mgmt, "b")
    (second,) = requested(mgmt, "upload", "b", "--after", first)
    mgmt.ok("cancel", second)
    work_off(mgmt)
    mended(mgmt)
    mgmt.ok("retry", first)
    assert statuses(mgmt, second) == ["cancelled"]
    assert (mgmt.work / "b").exists()
