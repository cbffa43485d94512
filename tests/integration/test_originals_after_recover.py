"""What the record of an original says after its upload was killed, and what that means for the next commands."""

from pathlib import Path
from typing import Any

import pytest

from tests.moments import killed
from tests.program import Program

PROVING = "mgmt.services.upload.prove"


def original(program: Program, path: Path) -> Any:
    (record,) = [each for each in program.json("ls", path) if each["location"] == "local"]
    return record


def test_a_recovered_upload_records_the_content_of_its_original(on_directory: Program) -> None:
    path = on_directory.work / "a"
    path.write_text("1")
    on_directory.ok("upload", "--keep", path)
    path.write_text("22, longer")
    killed(on_directory, "upload", "--keep", "--on-conflict", "rename", path, at=PROVING)
    on_directory.ok("recover")
    record = original(on_directory, path)
    assert (record["status"], record["size"]) == ("completed", 10)
    on_directory.ok("delete", "a-2", "--yes")  # the original is a copy of it


def test_a_partial_upload_that_recover_finished_leaves_its_original_completed(on_directory: Program) -> None:
    folder = on_directory.work / "e"
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "x.tmp").write_text("2")
    on_directory.ok("ls")  # the process that is killed has the same catalog
    killed(on_directory, "upload", "--exclude", "*.tmp", folder, at=PROVING)
    on_directory.ok("recover")
    assert original(on_directory, folder)["status"] == "completed"


def test_an_unrecorded_copy_that_was_uploaded_can_be_freed(on_directory: Program) -> None:
    path = on_directory.work / "a"
    path.write_text("one")
    on_directory.ok("upload", path)
    other = on_directory.work / "completed" / "b"
    other.write_text("foreign")
    on_directory.ok("upload", "--keep", "--on-conflict", "rename", other)
    on_directory.ok("free", other, "--yes")
    assert not other.exists()


def test_a_failed_upload_says_what_is_there_now(on_directory: Program) -> None:
    path = on_directory.work / "a"
    path.write_text("1")
    on_directory.ok("upload", "--keep", path)
    path.write_text("a much longer text")
    assert on_directory.run("upload", "--keep", path).returncode == 10
    assert original(on_directory, path)["size"] == len("a much longer text")


@pytest.mark.sqlite
def test_a_dry_run_of_recover_lists_nothing_that_is_not_there(on_directory: Program) -> None:
    path = on_directory.work / "a"
    path.write_text("1")
    on_directory.ok("upload", "--keep", path)
    path.write_text("2")
    assert on_directory.run("upload", "--keep", path).returncode == 10
    assert on_directory.json("recover", "-n") == []
