"""How mgmt handles copies in completed/ that a user edits, moves or removes by hand."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.program import Program

NOT_FOUND, REFUSED = 4, 7


@pytest.fixture
def copy(on_directory: Program) -> Path:
    """A copy in completed/, with another beside it."""
    for name in ("clip", "other"):
        (on_directory.work / name).write_text(name * 100)
        on_directory.ok("upload", name)
    return on_directory.work / "completed" / "clip"


@pytest.mark.parametrize("absolute", [False, True], ids=["beside", "absolute"])
def test_an_edited_copy_is_freed_once_it_is_archived_in_place(
    on_directory: Program, copy: Path, absolute: bool
) -> None:
    if absolute:
        on_directory.ok("config", "set", "completed_dir", copy.parent)
    copy.write_text("edited" * 50)
    refused = on_directory.run("free", copy, "--yes")
    assert refused.returncode == REFUSED
    assert f"mgmt upload --keep --on-conflict rename {copy}" in refused.stderr
    on_directory.ok("upload", "--keep", "--on-conflict", "rename", copy)
    on_directory.ok("free", copy, "--yes")
    assert not copy.exists()
    for key, content in (("clip.tar.gz", "clip" * 100), ("clip-2.tar.gz", "edited" * 50)):
        on_directory.ok("download", key, "--to", f"back/{key}")
        assert (on_directory.work / "back" / key / "clip").read_text() == content


def test_the_time_of_a_folder_can_be_set_back(on_directory: Program) -> None:
    beach = on_directory.work / "holiday" / "beach"
    beach.mkdir(parents=True)
    (beach / "one.jpg").write_text("one")
    on_directory.ok("upload", "holiday")
    beach = on_directory.work / "completed" / "holiday" / "beach"
    (beach / "Thumbs.db").write_text("x")
    (beach / "Thumbs.db").unlink()
    refused = on_directory.run("free", "holiday", "--yes")
    assert refused.returncode == REFUSED
    assert "touch -d @SECONDS FOLDER" in refused.stderr
    (folder, _) = on_directory.json("ls", "--members", "holiday", "holiday/beach")
    seconds, nanoseconds = divmod(folder["mtime_ns"], 10**9)
    subprocess.run(["touch", "-d", f"@{seconds}.{nanoseconds:09}", beach], check=True)
    on_directory.ok("free", "holiday", "--yes")


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_free_names_the_command_that_explains_a_lost_archive(on_directory: Program, copy: Path, damage: str) -> None:
    archive = on_directory.home / "store" / "clip.tar.gz"
    if damage == "missing":
        archive.unlink()
    else:
        archive.write_bytes(bytes(archive.stat().st_size))
    refused = on_directory.run("free", "clip", "--yes")
    assert refused.returncode == 8
    assert f"try: mgmt verify file://{archive}\n" in refused.stderr
    assert copy.exists()


def test_an_uploaded_copy_is_recorded_where_it_was_moved(on_directory: Program, copy: Path) -> None:
    copy.write_text("edited" * 50)
    on_directory.ok("upload", "--on-conflict", "rename", copy)
    assert (copy.parent / "completed" / "clip").read_text() == "edited" * 50
    on_directory.ok("free", "--all", "--yes")
    assert on_directory.json("ls", "--location", "completed", "--status", "completed") == []


def test_free_all_skips_copies_removed_by_hand(on_directory: Program, copy: Path) -> None:
    copy.unlink()
    on_directory.ok("free", "--all", "--yes")
    assert list(copy.parent.iterdir()) == []
    for _ in range(2):
        assert on_directory.run("free", copy, "--yes").returncode == NOT_FOUND
    assert on_directory.run("delete", "clip", "--yes").returncode == REFUSED, "its archive is the last copy now"


def test_copies_in_an_unmounted_folder_stay_recorded(on_directory: Program, copy: Path) -> None:
    away = copy.parent.rename(copy.parent.with_name("unmounted"))
    assert on_directory.run("free", copy, "--yes").returncode == NOT_FOUND
    on_directory.ok("free", "--all", "--yes")
    away.rename(copy.parent)
    on_directory.ok("free", "--all", "--yes")
    assert list(copy.parent.iterdir()) == []


def test_delete_accepts_a_kept_archive_as_another_copy(on_directory: Program) -> None:
    path = on_directory.work / "clip"
    path.write_text("precious" * 100)
    on_directory.ok("upload", "clip", "--keep-archive", "kept")
    on_directory.ok("free", "clip", "--yes")
    kept = on_directory.work / "kept" / "clip.tar.gz"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-9] + b"x" + whole[-8:])
    assert on_directory.run("delete", "clip", "--yes").returncode == REFUSED
    kept.write_bytes(whole)
    on_directory.ok("delete", "clip", "--yes")
    assert (on_directory.home / "store" / "clip.tar.gz").exists() is False
    shutil.unpack_archive(kept, on_directory.work / "back")
    assert (on_directory.work / "back" / "clip").read_text() == "precious" * 100


def test_free_accepts_another_archive_of_the_same_content(on_directory: Program) -> None:
    path = on_directory.work / "clip"
    path.write_text("precious" * 100)
    on_directory.ok("upload", "clip", "--keep")
    on_directory.ok("--store", f"file://{on_directory.home}/other", "upload", "clip")
    on_directory.ok("free", "completed/clip", "--yes")
    assert not (on_directory.work / "completed" / "clip").exists()
    there = f"file://{on_directory.home}/other/clip.tar.gz"
    on_directory.ok("delete", there, "--yes")
    refused = on_directory.run("delete", "clip.tar.gz", "--yes")
    assert refused.returncode == REFUSED
    on_directory.ok("verify", "--all")


def test_an_edited_copy_that_was_uploaded_and_freed_is_not_listed(on_directory: Program) -> None:
    (on_directory.work / "notes").write_text("first")
    on_directory.ok("upload", "notes")
    copy = on_directory.work / "completed" / "notes"
    copy.write_text("second")
    on_directory.ok("upload", "--keep", "--on-conflict", "rename", copy)
    listed = [each["path"] for each in on_directory.json("ls") if each["location"] != "s3"]
    assert listed == [str(copy)]
    on_directory.ok("free", copy, "--yes")
    assert [each["path"] for each in on_directory.json("ls") if each["location"] != "s3"] == []
