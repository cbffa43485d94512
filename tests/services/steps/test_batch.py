"""What stands for several targets: the record of the batch, and the error."""

import gc
import json
import os
import signal
import weakref
from pathlib import Path
from typing import Any

import pytest

from mgmt import archive
from mgmt.errors import ConflictError, MgmtError, NotFoundError, PartialError
from mgmt.services.steps.batch import Outcome, verdict
from mgmt.services.steps.move_original import finish_upload
from mgmt.storage import key_for
from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


@pytest.mark.parametrize(
    ("failed", "partial", "done", "expected"),
    [
        (1, 0, 1, "1 of 2 targets failed"),
        (2, 0, 1, "2 of 3 targets failed"),
        (0, 1, 1, "1 of 2 targets is partial"),
        (0, 2, 1, "2 of 3 targets are partial"),
        (1, 1, 1, "1 of 3 targets failed, 1 is partial"),
        (1, 2, 0, "1 of 3 targets failed, 2 are partial"),
    ],
)
def test_the_error_counts_what_failed_and_what_is_partial(failed: int, partial: int, done: int, expected: str) -> None:
    outcomes: list[Outcome[None]] = [Outcome("x", error=MgmtError("no"), batch="id")] * failed
    outcomes += [Outcome("x", partial="1 left out", batch="id")] * partial + [Outcome("x")] * done
    error = verdict(outcomes)
    assert isinstance(error, PartialError)
    assert error.message == expected
    assert error.next_step == "mgmt status id\n# what is left"


def test_errors_of_one_kind_stand_for_themselves() -> None:
    error = verdict(
        [
            Outcome("a", error=NotFoundError("a: gone", next_step="mgmt ls")),
            Outcome("b", error=NotFoundError("b")),
        ]
    )
    assert isinstance(error, NotFoundError)
    assert (error.message, error.next_step) == ("2 of 2 targets failed: a: gone", "mgmt ls")
    mixed = verdict([Outcome("a", error=NotFoundError("a")), Outcome("b", error=ConflictError("b"))])
    assert type(mixed) is MgmtError


def test_a_batch_records_what_is_left(mgmt: Program) -> None:
    names = ["a", "b", "caf\udce9", "c"]
    for name in ("a", "c"):
        (mgmt.work / name).write_text(name)
    assert mgmt.run("upload", *names).returncode == 3
    (batch,) = mgmt.json("log", "--type", "batch")
    assert (batch["status"], batch["error_message"]) == ("partial", "2 of 4 targets failed")
    folder = str(mgmt.work)
    assert batch["metadata"] == {"targets": 4, "done": 2, "left": ["b", "caf\udce9"], "folder": folder}
    assert "left" in mgmt.ok("status", batch["operation_id"])
    (mgmt.work / "b").write_text("b")
    mgmt.ok("upload", "a", "b")
    assert mgmt.json("log", "--type", "batch")[0]["metadata"] == {"targets": 2, "done": 2}


def test_a_killed_batch_shows_what_is_left(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (mgmt.work / name).write_text(name)

    def die_at_the_second_upload() -> None:
        survey = archive.survey

        def once(*arguments: object, **options: object) -> object:
            if (mgmt.work / "completed" / "a").exists():
                os._exit(9)
            return survey(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr("mgmt.services.steps.plan.survey", once)

    child = mgmt.fork("upload", "a", "b", "c", arm=die_at_the_second_upload)
    assert child.wait() == 9
    child.communicate()
    (batch,) = mgmt.json("log", "--type", "batch")
    assert batch["status"] == "running"
    assert batch["metadata"] == {"targets": 3, "done": 1, "left": ["b", "c"], "folder": str(mgmt.work)}
    mgmt.ok("recover")
    (batch,) = mgmt.json("log", "--type", "batch")
    assert (batch["status"], batch["metadata"]["left"]) == ("cancelled", ["b", "c"])
    done = mgmt.run("upload", "a", "b", "c")
    assert done.returncode == 0, done.stderr
    assert "archived already" in done.stdout


def test_each_error_of_a_batch_says_what_to_try(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("x")
    (mgmt.work / "link").symlink_to("notes")
    done = mgmt.run("upload", "notes", "link")
    assert done.returncode == 3
    assert f"  try: mgmt upload {mgmt.work}/notes" in done.stderr
    done = mgmt.run("-o", "json", "upload", "notes", "link")
    assert [each.get("error", {}).get("next") for each in json.loads(done.stdout)] == [
        None,
        f"mgmt upload {mgmt.work}/notes",
    ]


def test_no_targets_are_no_operation(mgmt: Program) -> None:
    (mgmt.work / "empty").mkdir()
    assert mgmt.json("upload", "--all", "empty") == []
    assert mgmt.json("log") == []


@pytest.mark.sqlite
def test_an_unexpected_error_fails_its_target_only(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        (on_directory.work / name).write_text(name)

    def broken(name: str) -> str:
        if name == "b":
            raise KeyError(name)
        return key_for(name)

    monkeypatch.setattr("mgmt.services.steps.plan.key_for", broken)
    done = on_directory.run("-o", "jsonl", "upload", "a", "b", "c")
    assert done.returncode == 3, done
    ended = {each["target_name"]: each["status"] for each in map(json.loads, done.stdout.splitlines())}
    assert ended == {"a": "success", "b": "failed", "c": "success"}
    assert (on_directory.work / "b").exists()
    done = on_directory.run("upload", "b")
    assert (done.returncode, done.stderr.count("\n")) == (1, 3), done
    assert "unexpected KeyError" in done.stderr
    on_directory.run("-v", "upload", "b")
    assert "raise KeyError(name)" in caplog.text


@pytest.mark.sqlite
@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no /proc here")
def test_a_file_without_a_size_is_not_archived_as_empty(on_directory: Program) -> None:
    (on_directory.work / "notes").write_text("notes")
    done = on_directory.run("upload", "--keep", "/proc/version", "notes")
    assert done.returncode == 3, done
    assert "/proc/version cannot be archived: it does not hold the 0 bytes" in done.stderr
    assert [each["name"] for each in on_directory.json("ls", "--live")] == ["notes.tar.gz"]


@pytest.mark.sqlite
@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_record_is_forgotten_once_it_is_shown(mgmt: Program, monkeypatch: pytest.MonkeyPatch, jobs: str) -> None:
    """Memory does not grow with the number of targets."""
    records: list[weakref.ref[object]] = []
    alive: list[int] = []

    def finish(record: object, *arguments: Any) -> None:
        records.append(weakref.ref(record))
        gc.collect()
        alive.append(sum(each() is not None for each in records))
        finish_upload(record, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("mgmt.services.upload.finish_upload", finish)
    monkeypatch.setattr("mgmt.services.steps.parallel.QUEUED", 1)
    names = [f"file {number}" for number in range(20)]
    for name in names:
        (mgmt.work / name).write_text(name)
    gc.freeze()  # what is there already takes long to look through
    try:
        assert mgmt.run("-o", "jsonl", "upload", "--jobs", jobs, *names).returncode == 0
    finally:
        gc.unfreeze()
    assert max(alive) <= 4 * int(jobs) + 2  # some threads have just ended with one, others have begun


@pytest.mark.sqlite
@pytest.mark.parametrize("jobs", ["1", "3"])
def test_an_interrupted_batch_records_what_was_done(mgmt: Program, monkeypatch: pytest.MonkeyPatch, jobs: str) -> None:
    finished: list[object] = []

    def finish(record: object, *arguments: Any) -> None:
        finish_upload(record, *arguments)  # type: ignore[arg-type]
        finished.append(record)
        if len(finished) == 4:
            os.kill(os.getpid(), signal.SIGTERM)  # a background job ignores SIGINT

    monkeypatch.setattr("mgmt.services.upload.finish_upload", finish)
    names = [f"file {number}" for number in range(8)]
    for name in names:
        (mgmt.work / name).write_text(name)
    assert mgmt.run("upload", "--jobs", jobs, *names).returncode == 143
    (batch,) = mgmt.json("log", "--type", "batch")
    uploads = mgmt.json("log", "--type", "upload")
    done = [each["target_name"] for each in uploads if each["status"] == "success"]
    assert batch["status"] == "cancelled"
    assert batch["metadata"]["done"] == len(done) >= 4
    assert sorted([*done, *batch["metadata"]["left"]]) == names


@pytest.mark.sqlite
def test_a_target_that_does_not_exist_is_no_part_of_another(mgmt: Program) -> None:
    (mgmt.work / "a").write_text("a")
    done = mgmt.run("upload", "a", "a/typo")
    assert done.returncode == 3, done
    assert "a/typo" in done.stderr
    (mgmt.work / "b").mkdir()
    (mgmt.work / "b" / "c").write_text("c")
    for _ in range(2):  # the second time, it is archived already
        assert mgmt.run("upload", "b", "b/c").returncode == 0
