"""The order of steps in an upload, observed at each step."""

from pathlib import Path
from typing import Any

import pytest

from mgmt import archive
from mgmt.services import upload
from mgmt.services.steps import move_original as completed
from mgmt.storage.directory import DirectoryStore
from tests.program import Program

MOVING = "SELECT status, stage, completed_dir_path, proof FROM operations NATURAL JOIN uploads"


@pytest.fixture
def notes(on_directory: Program) -> Path:
    path = on_directory.work / "notes"
    path.write_text("precious" * 100)
    return path


@pytest.mark.parametrize("place", ["in the middle", "in the gzip header"])
def test_an_original_is_not_moved_if_the_store_corrupts_its_archive(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The size stays the same, so that only the proof detects it."""
    publish = DirectoryStore.publish

    def corrupt(store: DirectoryStore, key: str, *others: Any) -> Any:
        there = publish(store, key, *others)
        if key == "notes.tar.gz":
            with (Path(store.path) / key).open("r+b") as file:
                # Byte 9 of a gzip header names the operating system: the contents inflate unchanged.
                file.seek(there.size // 2 if place == "in the middle" else 9)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))
        return there

    monkeypatch.setattr(DirectoryStore, "publish", corrupt)
    done = on_directory.run("upload", notes)
    assert done.returncode == 8, done.stderr
    assert notes.read_text() == "precious" * 100
    assert not (on_directory.work / "completed").exists()
    assert on_directory.json("ls", "--live") == []


def test_proof_and_destination_are_on_disk_before_the_move(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    def move(source: str, destination: str, **folders: int | None) -> None:
        seen.extend(on_directory.records.rows(MOVING))
        seen.extend(on_directory.records.rows("SELECT status FROM files WHERE location = 's3'"))
        assert source == str(notes)
        archive.move(source, destination, **folders)

    monkeypatch.setattr(completed, "move", move)
    on_directory.ok("upload", notes)
    assert seen == [("running", "proven", str(on_directory.work / "completed" / "notes"), "read-back"), ("completed",)]


def test_success_is_not_recorded_before_the_move(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, destination: str, **_: int | None) -> None:
        raise OSError(5, "Input/output error", source)

    monkeypatch.setattr(completed, "move", refuse)
    assert on_directory.run("upload", notes).returncode == 1
    assert notes.exists()
    assert on_directory.records.rows("SELECT status FROM operations") == [("failed",)]
    assert on_directory.records.rows("SELECT count(*) FROM files WHERE location = 'completed'") == [(0,)]


def test_a_change_after_reading_is_detected_before_the_archive_is_published(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*arguments: Any, **options: Any) -> Any:
        archived = archive.write_archive(*arguments, **options)
        notes.write_text("other")
        return archived

    monkeypatch.setattr(upload, "write_archive", write)
    done = on_directory.run("upload", notes)
    assert done.returncode == 1
    assert "changed" in done.stderr
    assert notes.read_text() == "other"
    assert list((on_directory.home / "store").rglob("*.gz")) == []


def test_delete_refuses_the_last_copy(on_directory: Program, notes: Path) -> None:
    on_directory.ok("upload", notes)
    (on_directory.work / "completed" / "notes").write_text("no longer the same")
    assert on_directory.run("delete", "notes", "--yes").returncode == 7
    assert (on_directory.home / "store" / "notes.tar.gz").exists()


def test_another_archive_under_the_same_key_is_not_overwritten(on_directory: Program, notes: Path) -> None:
    on_directory.ok("upload", notes)
    before = (on_directory.home / "store" / "notes.tar.gz").read_bytes()
    notes.write_text("something else")
    assert on_directory.run("upload", notes).returncode == 10
    assert notes.read_text() == "something else"
    assert (on_directory.home / "store" / "notes.tar.gz").read_bytes() == before


def test_a_file_that_replaces_the_original_just_before_the_move_is_moved_back(
    on_directory: Program, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(source: str, destination: str, **folders: int | None) -> None:
        if source == str(notes):
            notes.unlink()
            notes.write_text("another")
        archive.move(source, destination, **folders)

    monkeypatch.setattr(completed, "move", move)
    done = on_directory.run("upload", notes)
    assert done.returncode == 1
    assert "changed after it was read" in done.stderr
    assert notes.read_text() == "another"
    assert not (on_directory.work / "completed" / "notes").exists()
