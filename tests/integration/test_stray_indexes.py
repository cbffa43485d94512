"""An upload is killed between its index and its archive, and the catalog is lost: only the index remains."""

import os
import time
from pathlib import Path

import pytest

from mgmt.errors import ExitStatus
from mgmt.services.steps.index_keys import SUFFIX
from mgmt.storage import Attributes, Transfer, open_store
from tests.program import Program

AN_HOUR = 3601
A_DAY = 24 * AN_HOUR


@pytest.fixture
def stray(on_directory: Program) -> Path:
    """An index without its archive, in a store whose catalog is empty."""
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "notes", "--keep")
    store = Path(on_directory.store.removeprefix("file://"))
    (store / "notes.tar.gz").unlink()
    on_directory.records.remove()
    (index,) = [path for path in store.iterdir() if path.name.endswith(SUFFIX)]
    return index


def test_rebuild_records_the_upload_and_recover_removes_its_index(on_directory: Program, stray: Path) -> None:
    long_ago = time.time() - AN_HOUR
    os.utime(stray, (long_ago, long_ago))
    assert on_directory.json("db", "rebuild")["metadata"]["interrupted"] == 1
    assert on_directory.json("db", "rebuild")["metadata"]["interrupted"] == 0  # it is recorded
    assert stray.exists()
    (recovered,) = on_directory.json("recover")
    assert "removed the index" in recovered["action"]
    assert not stray.exists()
    on_directory.ok("verify", "--all")


def test_the_index_of_an_upload_that_may_be_running_is_kept(on_directory: Program, stray: Path) -> None:
    assert on_directory.json("db", "rebuild")["metadata"]["interrupted"] == 0
    assert on_directory.json("recover") == []
    assert stray.exists()
    done = on_directory.run("verify", "--all")
    assert done.returncode == ExitStatus.INTEGRITY
    assert "is an index without an archive" in done.stderr


@pytest.mark.parametrize(("age", "is_removed"), [(AN_HOUR, False), (A_DAY, True)])
def test_the_index_of_an_upload_whose_parts_are_there_is_kept_for_a_day(
    on_directory: Program, stray: Path, age: int, is_removed: bool
) -> None:
    """Another catalog may know it; one that completes it after that stores its index again."""
    store = open_store(on_directory.store)
    sending = store.start_upload("notes.tar.gz", Attributes({}), Transfer(1 << 20))
    sending.write(b"parts")
    sending.close()
    long_ago = time.time() - age
    os.utime(stray, (long_ago, long_ago))
    assert on_directory.json("db", "rebuild")["metadata"]["interrupted"] == is_removed
    on_directory.ok("recover")
    assert stray.exists() != is_removed
    assert on_directory.run("verify", "--all").returncode == (0 if is_removed else ExitStatus.INTEGRITY)


def test_the_file_of_a_stray_index_can_be_uploaded_again(on_directory: Program, stray: Path) -> None:
    on_directory.ok("upload", "notes", "--keep")
    assert stray.exists()
    on_directory.ok("download", "notes", "--to", "back")
    assert (on_directory.work / "back" / "notes").read_text() == "precious"
