"""The record of an original follows its upload: `pending`, `uploading`, `completed`, or `failed` with the reason."""

from pathlib import Path
from typing import Any

import pytest

from mgmt.errors import CatalogError, StoreUnavailableError
from mgmt.services import upload
from mgmt.services.steps import indexes
from mgmt.storage.directory import DirectoryStore
from tests.program import Program

SOURCES = "SELECT f.status, f.error_message, f.digest IS NOT NULL FROM files f WHERE location = 'local' ORDER BY id"


@pytest.fixture
def notes(on_directory: Program) -> Path:
    path = on_directory.work / "notes"
    path.write_text("precious" * 100)
    return path


def sources(program: Program) -> list[tuple[Any, ...]]:
    return [(status, message, bool(known)) for status, message, known in program.records.rows(SOURCES)]


def test_the_original_is_pending_then_uploading_then_completed(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original_look_up, original_put = indexes.look_up, DirectoryStore.put

    def record_at_plan(*arguments: Any) -> Any:
        seen.append(sources(on_directory))
        return original_look_up(*arguments)

    def record_at_send(*arguments: Any, **options: Any) -> Any:
        seen.append(sources(on_directory))
        return original_put(*arguments, **options)

    monkeypatch.setattr(upload, "look_up", record_at_plan)
    monkeypatch.setattr(DirectoryStore, "put", record_at_send)
    on_directory.ok("upload", "--keep", notes)
    assert seen == [[("pending", None, False)], [("uploading", None, False)]]
    assert sources(on_directory) == [("completed", None, True)]


def test_a_failed_upload_leaves_the_reason_with_the_original(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise StoreUnavailableError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "put", refuse)
        assert on_directory.run("upload", notes).returncode == 5
    assert sources(on_directory) == [("failed", "the disk is full", False)]
    (found,) = on_directory.json("search", "notes", "--status", "failed")
    assert found["path"] == str(notes)
    (failed,) = on_directory.json("log", "--type", "upload")
    assert [each["path"] for each in on_directory.json("status", failed["operation_id"])["files"]] == [str(notes)]
    on_directory.ok("upload", notes)
    assert sources(on_directory) == [("deleted", None, True)]
    assert on_directory.json("audit", "verify") is not None


def test_a_failed_upload_keeps_the_digest_of_an_earlier_one(on_directory: Program, notes: Path) -> None:
    on_directory.ok("upload", "--keep", notes)
    notes.write_text("other")
    assert on_directory.run("upload", notes).returncode == 10
    ((status, message, known),) = sources(on_directory)
    assert (status, known) == ("failed", True)
    assert "already holds other contents" in message
    on_directory.ok("upload", "--on-conflict", "skip", notes)
    assert [(status, message[:8]) for status, message, _ in sources(on_directory)] == [("failed", "skipped:")]


def test_recover_marks_the_original_of_an_interrupted_upload_as_failed(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any, **__: Any) -> None:
        raise CatalogError("the connection is lost")  # so the failure is not recorded, as after a kill

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "put", lose)
        assert on_directory.run("upload", notes).returncode == 12
    ((owner,),) = on_directory.records.rows("SELECT owner FROM operations")
    gone = f"{owner.rpartition('/')[0]}/0"  # a process with this pid that started at another time
    on_directory.records.change("UPDATE operations SET owner = ?", gone)
    assert sources(on_directory) == [("uploading", None, False)]
    on_directory.ok("recover")
    assert sources(on_directory) == [("failed", "interrupted, and undone by recover", False)]
