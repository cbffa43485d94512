"""`retry` and `replay` run operations again as they were recorded, as new operations that say which they repeat."""

import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.program import Program

OK, USAGE, PARTIAL, NOT_FOUND, REFUSED, CONFLICT = 0, 2, 3, 4, 7, 10


def operations(program: Program, operation_type: str | None = None) -> list[Any]:
    """The newest first."""
    found = program.json("log", "--limit", "50")
    return [each for each in found if operation_type in (None, each["operation_type"])]


def last(program: Program, operation_type: str | None = None) -> str:
    return str(operations(program, operation_type)[0]["operation_id"])


@pytest.fixture
def films(anywhere: Program) -> Program:
    for name in ("a", "b", "c"):
        (anywhere.work / name).write_text(name)
    return anywhere


def test_a_failed_upload_is_retried_with_its_options(films: Program) -> None:
    (films.work / "a").rename(films.work / "away")
    assert films.run("upload", "a", "--key", "k/a", "--tag", "x=y", "--level", "balanced").returncode == NOT_FOUND
    failed = last(films)
    (films.work / "away").rename(films.work / "a")
    (row,) = films.json("retry", failed, "-n")
    assert row["repeats"] == [failed]
    assert "--key=k/a" in row["command_line"]
    assert len(operations(films)) == 1, "a dry run records nothing"
    films.ok("retry", failed, cwd=films.home)
    (again,) = operations(films, "upload")[:1]
    assert (again["status"], again["retry_of"], again["s3_object_key"]) == ("success", failed, "k/a")
    assert again["command_args"]["tags"] == {"x": "y"}
    assert (films.work / "completed" / "a").exists()


def test_what_has_succeeded_since_is_not_retried(films: Program) -> None:
    (films.work / "a").rename(films.work / "away")
    assert films.run("upload", "a").returncode == NOT_FOUND
    failed = last(films)
    (films.work / "away").rename(films.work / "a")
    films.ok("upload", "a")
    done = films.run("retry", failed)
    assert (done.returncode, f"{last(films)} has succeeded since" in done.stderr) == (OK, True), done
    assert len(operations(films, "upload")) == 2


def test_what_a_retry_has_done_is_not_retried(films: Program) -> None:
    (films.work / "a").rename(films.work / "away")
    assert films.run("upload", "a").returncode == NOT_FOUND
    failed = last(films)
    assert films.run("retry", failed).returncode == NOT_FOUND
    second = last(films)
    (films.work / "away").rename(films.work / "a")
    films.ok("retry", second)
    third = last(films)
    done = films.run("retry", failed)
    assert (done.returncode, f"{third}, which did it again, has succeeded" in done.stderr) == (OK, True), done
    assert films.json("retry", "--failed", "-n") == []


def test_of_a_batch_the_failed_targets_are_retried(films: Program) -> None:
    (films.work / "b").rename(films.work / "away")
    assert films.run("upload", "a", "b", "c").returncode == PARTIAL
    batch = last(films, "batch")
    (films.work / "away").rename(films.work / "b")
    films.ok("retry", batch, cwd=films.home)
    found = [each["target_name"] for each in operations(films, "upload")]
    assert sorted(found) == ["a", "b", "b", "c"]
    assert last(films, "upload") == operations(films)[0]["operation_id"]
    done = films.run("retry", batch)
    assert (done.returncode, "not retried" in done.stderr) == (OK, True)


def test_several_failed_targets_are_a_batch_again(films: Program) -> None:
    for name in ("b", "c"):
        (films.work / name).rename(films.work / f"{name}-away")
    assert films.run("upload", "a", "b", "c").returncode == PARTIAL
    batch = last(films, "batch")
    for name in ("b", "c"):
        (films.work / f"{name}-away").rename(films.work / name)
    films.ok("retry", "--failed")
    again = operations(films, "batch")[0]
    assert (again["status"], again["retry_of"]) == ("success", batch)
    children = [each for each in operations(films, "upload") if each["parent_id"] == again["operation_id"]]
    assert sorted(each["target_name"] for each in children) == ["b", "c"]
    assert all(each["retry_of"] for each in children)


@pytest.mark.parametrize(
    ("line", "status", "mend"),
    [
        ("download a --to 'back to'", CONFLICT, "back to/a"),
        ("download f --member f/1 --to 'back to'", CONFLICT, "back to/1"),
        ("download a --archive --to 'back to'", CONFLICT, "back to/a.tar.gz"),
    ],
)
def test_a_failed_download_is_retried_to_its_folder(films: Program, line: str, status: int, mend: str) -> None:
    (films.work / "f").mkdir()
    (films.work / "f" / "1").write_text("one")
    films.ok("upload", "a", "f")
    (films.work / "back to").mkdir()
    (films.work / mend).write_text("in the way")
    assert films.run(*shlex.split(line)).returncode == status
    failed = last(films)
    (films.work / mend).unlink()
    films.ok("retry", failed, cwd=films.home)
    assert (films.work / mend).exists()
    assert operations(films)[0]["retry_of"] == failed


def test_removals_are_retried_after_a_question(films: Program) -> None:
    films.ok("upload", "a")
    (films.work / "completed" / "a").rename(films.work / "hidden")
    assert films.run("delete", "a", "--yes").returncode == REFUSED
    failed = last(films)
    (films.work / "hidden").rename(films.work / "completed" / "a")
    assert films.run("retry", failed).returncode == REFUSED, "there is no terminal to confirm on"
    assert films.json("ls", "--location", "s3")
    films.ok("retry", failed, "--yes")
    assert films.json("ls", "--location", "s3") == []
    assert operations(films, "delete")[0]["retry_of"] == failed


def test_a_freed_copy_that_was_edited_is_retried_once_it_is_mended(films: Program) -> None:
    films.ok("upload", "a")
    copy = films.work / "completed" / "a"
    times = (copy.stat().st_atime_ns, copy.stat().st_mtime_ns)
    copy.write_text("edited")
    assert films.run("free", "completed/a", "--yes").returncode == REFUSED
    failed = last(films)
    copy.write_text("a")
    os.utime(copy, ns=times)
    films.ok("retry", failed, "--yes", cwd=films.home)
    assert not copy.exists()


def test_a_failed_verification_is_retried(on_directory: Program) -> None:
    (on_directory.work / "a").write_text("a")
    on_directory.ok("upload", "a")
    stored = Path(on_directory.store.removeprefix("file://")) / "a.tar.gz"
    stored.rename(stored.with_suffix(".away"))
    assert on_directory.run("verify", "a", "--read-back").returncode != OK
    failed = last(on_directory)
    stored.with_suffix(".away").rename(stored)
    on_directory.ok("retry", "--failed")
    again = operations(on_directory)[0]
    assert (again["retry_of"], again["command_args"]) == (failed, {"read_back": True})


def test_an_upload_that_was_interrupted_resumes(films: Program) -> None:
    """See test_crash_points for kills; a cancelled one has left its parts in the store."""
    (films.work / "a").write_bytes(os.urandom(1 << 20))
    films.ok("upload", "a", "--later")
    waiting = last(films)
    films.ok("cancel", waiting)
    films.ok("retry", waiting, cwd=films.home)
    again = operations(films)[0]
    assert (again["status"], again["retry_of"], again["target_name"]) == ("success", waiting, "a")


def test_a_retry_can_run_later(films: Program) -> None:
    (films.work / "a").rename(films.work / "away")
    assert films.run("upload", "a", "--tag", "x=y").returncode == NOT_FOUND
    failed = last(films)
    (films.work / "away").rename(films.work / "a")
    (made,) = films.json("retry", failed, "--later", cwd=films.home)
    assert (made["status"], made["retry_of"]) == ("pending", failed)
    done = films.run("retry", failed)
    assert (done.returncode, "is pending" in done.stderr) == (OK, True)
    films.ok("run", made["operation_id"], cwd=films.home)
    again = operations(films)[0]
    assert (again["operation_id"], again["status"], again["retry_of"]) == (made["operation_id"], "success", failed)


def test_what_is_not_repeatable_is_refused(films: Program) -> None:
    films.ok("upload", "a", "--keep")
    upload = last(films)
    for line in ("search a", "status a", "config set level fast", "recover", "db rebuild"):
        films.ok(*shlex.split(line))
        done = films.run("replay", last(films))
        assert (done.returncode, "is not repeated from its record" in done.stderr) == (REFUSED, True), done
    done = films.run("retry", upload)
    assert (done.returncode, f"mgmt replay {upload}" in done.stderr) == (REFUSED, True)
    assert films.run("retry").returncode == USAGE
    assert films.run("retry", "no-such-operation").returncode == NOT_FOUND
    assert films.run("replay", "no-such-operation").returncode == NOT_FOUND


def test_a_replay_repeats_what_succeeded(films: Program) -> None:
    films.ok("upload", "a", "b", "--tag", "x=y")
    batch = last(films, "batch")
    films.ok("undo", batch, "--yes")
    (row,) = films.json("replay", batch, "-n")
    assert row["command_line"].count(str(films.work)) == 2
    films.ok("replay", batch, cwd=films.home)
    again = operations(films, "batch")[0]
    assert (again["status"], again["retry_of"]) == ("success", batch)
    assert len(films.json("ls", "--location", "s3")) == 2
    films.ok("verify", "--all")
    films.ok("audit", "verify")


def test_a_replayed_download_goes_to_the_same_folder(films: Program) -> None:
    films.ok("upload", "a")
    films.ok("download", "a", "--to", "back")
    first = last(films)
    (films.work / "back" / "a").unlink()
    films.ok("replay", first, cwd=films.home)
    assert (films.work / "back" / "a").read_text() == "a"


def test_an_undo_is_not_replayed(films: Program) -> None:
    films.ok("upload", "a")
    upload = last(films)
    films.ok("undo", upload, "--yes")
    done = films.run("replay", last(films, "undo"))
    assert (done.returncode, f"mgmt undo {upload}" in done.stderr) == (REFUSED, True)


def test_what_cannot_be_retried_does_not_keep_others_from_it(on_directory: Program) -> None:
    for name in ("a", "b"):
        (on_directory.work / name).write_text(name)
    on_directory.ok("upload", "a")
    (Path(on_directory.store.removeprefix("file://")) / "README").write_text("theirs")
    assert on_directory.run("verify", "--all").returncode == 8
    failed = last(on_directory)
    assert on_directory.run("upload", "missing").returncode == NOT_FOUND
    (on_directory.work / "missing").write_text("there")
    done = on_directory.run("retry", "--failed")
    assert (done.returncode, "it looked for unknown objects" in done.stderr) == (OK, True), done
    assert (on_directory.work / "completed" / "missing").exists()
    assert on_directory.run("retry", failed).returncode == REFUSED
