"""What is done again, or undone, is what was meant, although names, keys and paths are used again."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mgmt.services.worker import Worker
from tests.clocks import turn_clock
from tests.program import Program

OK, USAGE, PARTIAL, NOT_FOUND, REFUSED = 0, 2, 3, 4, 7


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def write(program: Program, name: str, content: str) -> Path:
    path = program.work / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def operations(program: Program, operation_type: str | None = None) -> list[Any]:
    """The newest first."""
    found = program.json("log", "--limit", "50")
    return [each for each in found if operation_type in (None, each["operation_type"])]


def last(program: Program, operation_type: str | None = None) -> str:
    return str(operations(program, operation_type)[0]["operation_id"])


def requested(program: Program, *words: str, cwd: Path | None = None) -> list[str]:
    return program.ok("-q", *words, cwd=cwd or program.work).split()


def status(program: Program, operation_id: str) -> tuple[str, str]:
    (found,) = [each for each in operations(program) if each["operation_id"] == operation_id]
    return found["status"], found["error_message"] or ""


def only_copy(program: Program, name: str, content: str) -> None:
    """Archive this content, and remove all other copies of it."""
    write(program, name, content)
    program.ok("upload", name)
    for each in program.json("ls", "--location", "completed"):
        if each["status"] == "completed":
            program.ok("free", each["path"], "--yes")


def archives(program: Program) -> list[Path]:
    return sorted(Path(program.store.removeprefix("file://")).rglob("*.tar.gz"))


def test_a_removal_that_succeeded_is_not_replayed(mgmt: Program) -> None:
    only_copy(mgmt, "h", "old")
    mgmt.ok("delete", "h", "--last-copy", "--yes")
    deletion = last(mgmt, "delete")
    only_copy(mgmt, "h", "new")
    freed = last(mgmt, "free")
    for each in (deletion, freed):
        done = mgmt.run("replay", each, "--yes")
        assert (done.returncode, "is not repeated" in done.stderr) == (REFUSED, True), done
    assert len(archives(mgmt)) == 1


@pytest.mark.parametrize("words", [(), ("--last-copy",)])
@pytest.mark.parametrize("later", [(), ("--later",)])
def test_a_failed_deletion_never_removes_a_later_archive(
    mgmt: Program, words: tuple[str, ...], later: tuple[str, ...]
) -> None:
    only_copy(mgmt, "h", "old")
    store = Path(mgmt.store.removeprefix("file://"))
    mgmt.ok("config", "set", "attempts", "1")
    requested(mgmt, "delete", "h", *words, "--later", "--yes")
    deletion = last(mgmt, "delete")
    store.rename(store.with_name("away"))
    mgmt.run("worker", "--until-empty")
    assert status(mgmt, deletion)[0] == "failed"
    store.with_name("away").rename(store)
    mgmt.ok("delete", "h", "--last-copy", "--yes")
    only_copy(mgmt, "h", "new")
    mgmt.run("retry", "--failed", "--yes", *later)
    mgmt.run("replay", deletion, "--yes", *later)
    mgmt.run("worker", "--until-empty")
    assert len(archives(mgmt)) == 1
    mgmt.ok("verify", "h")


def test_a_failed_deletion_of_the_last_copy_is_not_retried_by_a_name(mgmt: Program) -> None:
    only_copy(mgmt, "h", "old")
    only_copy(mgmt, "other", "other")
    store = Path(mgmt.store.removeprefix("file://"))
    store.rename(store.with_name("away"))
    assert mgmt.run("delete", "h", "--last-copy", "--yes").returncode != OK
    deletion = last(mgmt)
    store.with_name("away").rename(store)
    mgmt.run("retry", deletion, "--yes")
    assert len(archives(mgmt)) == 2


def test_a_failed_free_never_removes_a_later_copy(mgmt: Program) -> None:
    write(mgmt, "a", "old")
    mgmt.ok("upload", "a")
    copy = mgmt.work / "completed" / "a"
    times = (copy.stat().st_atime_ns, copy.stat().st_mtime_ns)
    copy.write_text("edited")
    assert mgmt.run("free", str(copy), "--yes").returncode == REFUSED
    failed = last(mgmt, "free")
    copy.write_text("old")
    os.utime(copy, ns=times)
    mgmt.ok("free", str(copy), "--yes")
    write(mgmt, "a", "new")
    mgmt.ok("upload", "a", "--key", "second")
    assert copy.read_text() == "new"
    assert mgmt.run("replay", failed, "--yes").returncode == REFUSED
    assert copy.read_text() == "new"


def an_hour_ago(program: Program, *words: str) -> None:
    """Run a command while the clock of its machine is an hour slow."""
    done = program.fork(*words, arm=partial(turn_clock, -1))
    done.wait(60)
    done.communicate()
    assert done.returncode == OK


def test_a_failed_free_never_removes_a_copy_of_a_slow_clock(mgmt: Program) -> None:
    write(mgmt, "a", "old")
    mgmt.ok("upload", "a")
    copy = mgmt.work / "completed" / "a"
    times = (copy.stat().st_atime_ns, copy.stat().st_mtime_ns)
    copy.write_text("edited")
    assert mgmt.run("free", str(copy), "--yes").returncode == REFUSED
    failed = last(mgmt, "free")
    copy.write_text("old")
    os.utime(copy, ns=times)
    mgmt.ok("free", str(copy), "--yes")
    write(mgmt, "a", "new")
    an_hour_ago(mgmt, "upload", "a", "--key", "second")
    assert mgmt.run("replay", failed, "--yes").returncode == REFUSED
    assert copy.read_text() == "new"


def test_an_original_comes_back_from_an_archive_that_keeps_as_much(mgmt: Program) -> None:
    write(mgmt, "a", "same")
    mgmt.ok("upload", "a", "--owners")
    upload = last(mgmt, "upload")
    write(mgmt, "b", "same")
    os.utime(mgmt.work / "b", ns=(0, (mgmt.work / "completed" / "a").stat().st_mtime_ns))
    mgmt.ok("upload", "b")
    mgmt.ok("free", upload, "--yes")
    (part, *_) = mgmt.json("undo", upload, "-n")
    assert (part["action"], part["target"].rsplit("/", 1)[1]) == ("download", "a.tar.gz")
    mgmt.ok("undo", upload, "--yes")
    assert (mgmt.work / "a").read_text() == "same"


def test_an_undo_keeps_an_archive_that_was_there_before(mgmt: Program) -> None:
    write(mgmt, "a", "same")
    mgmt.ok("upload", "a", "--keep")
    mgmt.ok("--catalog", "sqlite:///other.db", "upload", "a")
    upload = json.loads(mgmt.ok("-o", "json", "--catalog", "sqlite:///other.db", "log"))[0]
    mgmt.ok("--catalog", "sqlite:///other.db", "undo", upload["operation_id"], "--yes")
    assert (mgmt.work / "a").read_text() == "same"
    assert len(archives(mgmt)) == 1
    mgmt.ok("verify", "a")


def test_a_request_that_never_became_operations_is_retried(mgmt: Program) -> None:
    folder = mgmt.work / "in"
    for name in ("a", "b"):
        write(mgmt, f"in/{name}", name)
    requested(mgmt, "upload", "a", "b", "--tag", "x=y", "--later", cwd=folder)
    batch = last(mgmt, "batch")
    folder.rename(mgmt.work / "away")
    assert mgmt.run("worker", "--until-empty").returncode == PARTIAL
    assert status(mgmt, batch)[0] == "failed"
    done = mgmt.run("retry", batch)
    assert (done.returncode, "cannot be entered" in done.stderr) == (NOT_FOUND, True), done
    (mgmt.work / "away").rename(folder)
    (again,) = requested(mgmt, "retry", batch, "--later", cwd=mgmt.home)
    mgmt.ok("worker", "--until-empty")
    assert status(mgmt, again)[0] == "success"
    assert [each["command_args"]["tags"] for each in operations(mgmt, "upload")] == [{"x": "y"}] * 2
    done = mgmt.run("retry", batch)
    assert (done.returncode, again in done.stderr) == (OK, True), done
    mgmt.ok("replay", batch, cwd=mgmt.home)


def test_what_follows_an_upload_frees_its_own_copy(mgmt: Program) -> None:
    for folder in ("one", "two"):
        os.utime(write(mgmt, f"{folder}/a", "same"), ns=(0, 10**18))
    mgmt.ok("upload", "one/a")
    requested(mgmt, "upload", "two/a", "--key", "second", "--then", "free")
    mgmt.ok("worker", "--until-empty")
    assert (mgmt.work / "one" / "completed" / "a").exists()
    assert not (mgmt.work / "two" / "completed" / "a").exists()


def test_what_keeps_its_original_has_no_copy_to_free(mgmt: Program) -> None:
    write(mgmt, "a", "a")
    done = mgmt.run("upload", "a", "--keep", "--then", "free")
    assert (done.returncode, "--keep" in done.stderr) == (USAGE, True)
    assert operations(mgmt) == []
    mgmt.ok("upload", "a", "--keep")
    (mgmt.work / "b").write_text("a")
    mgmt.ok("upload", "b", "--key", "b")
    done = mgmt.run("free", operations(mgmt, "upload")[1]["operation_id"], "--yes")
    assert done.returncode == NOT_FOUND
    assert (mgmt.work / "completed" / "b").exists()


def test_a_retry_does_not_run_in_another_folder(mgmt: Program) -> None:
    write(mgmt, "a", "a")
    mgmt.ok("upload", "a")
    folder = mgmt.work / "in"
    folder.mkdir()
    (download,) = requested(mgmt, "download", "a", "--later", cwd=folder)
    folder.rmdir()
    mgmt.run("worker", "--until-empty")
    done = mgmt.run("retry", download, cwd=mgmt.home)
    assert (done.returncode, "cannot be entered" in done.stderr) == (NOT_FOUND, True), done
    assert not (mgmt.home / "a").exists()


def test_a_folder_that_became_a_link_leads_to_no_other_file(mgmt: Program) -> None:
    write(mgmt, "p/a", "meant")
    write(mgmt, "q/a", "another")
    (upload,) = requested(mgmt, "upload", "a", "--later", cwd=mgmt.work / "p")
    (mgmt.work / "p").rename(mgmt.work / "p1")
    (mgmt.work / "p").symlink_to("q")
    assert mgmt.run("worker", "--until-empty").returncode == PARTIAL
    assert "replaced by a link" in status(mgmt, upload)[1]
    assert mgmt.run("retry", upload).returncode == REFUSED
    assert (mgmt.work / "q" / "a").read_text() == "another"
    assert archives(mgmt) == []


def test_what_follows_is_not_forgotten_by_a_retry(mgmt: Program) -> None:
    path = write(mgmt, "a", "a")
    upload, *_ = requested(mgmt, "upload", "a", "--then", "verify", "--then", "free")
    path.rename(mgmt.work / "away")
    mgmt.run("worker", "--until-empty")
    (mgmt.work / "away").rename(path)
    for verb in ("retry", "replay"):
        done = mgmt.run(verb, upload)
        assert (done.returncode, f"mgmt retry --later {upload}" in done.stderr) == (REFUSED, True), done
    requested(mgmt, "retry", "--later", upload)
    mgmt.ok("worker", "--until-empty")
    assert [each["operation_type"] for each in operations(mgmt) if each["status"] == "success"] == [
        "free",
        "verify",
        "upload",
    ]


def test_a_batch_with_verifications_is_undone_wholly(mgmt: Program) -> None:
    for name in ("a", "b"):
        write(mgmt, name, name)
    (batch,) = requested(mgmt, "upload", "a", "b", "--then", "verify")
    mgmt.ok("worker", "--until-empty")
    mgmt.ok("undo", batch, "--yes")
    assert archives(mgmt) == []
    done = mgmt.run("undo", batch, "--yes")
    assert (done.returncode, "is undone already" in done.stderr) == (OK, True), done


def test_a_later_attempt_that_succeeds_counts(mgmt: Program) -> None:
    """The store comes back between two attempts of one worker."""
    program = Program(mgmt.home, mgmt.store, {"MGMT_BACKOFF": "0", "MGMT_ATTEMPTS": "2"}, mgmt.catalogs)
    write(program, "a", "a")
    program.ok("upload", "a")
    requested(program, "verify", "a", "--later")
    store = Path(program.store.removeprefix("file://"))
    away = store.with_name("away")
    store.rename(away)

    def arm() -> None:
        end = Worker._end

        def mended(self: Worker, *arguments: Any) -> Any:
            event = end(self, *arguments)
            if away.exists():
                away.rename(store)
            return event

        Worker._end = mended  # type: ignore[method-assign, assignment]

    worker = program.fork("-o", "jsonl", "worker", "--until-empty", arm=arm)
    worker.wait(60)
    output, errors = worker.communicate()
    assert worker.returncode == OK, errors
    ends = [each["status"] for each in map(json.loads, output.splitlines()) if each["type"] == "ended"]
    assert ends == ["failed", "success"]


def test_what_has_failed_is_retried_rather_than_undone(mgmt: Program) -> None:
    assert mgmt.run("upload", "missing").returncode == NOT_FOUND
    failed = last(mgmt)
    done = mgmt.run("cancel", failed)
    assert (done.returncode, f"mgmt retry {failed}" in done.stderr) == (REFUSED, True)
