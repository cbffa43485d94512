"""A target that is gone because it was archived is done; nothing else that is gone is."""

import json
import os

import pytest

from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "notes").write_text("precious")
    return on_directory


def uploads(mgmt: Program) -> int:
    return len(mgmt.json("log", "--type", "upload"))


def test_what_was_archived_and_moved_is_done(mgmt: Program) -> None:
    mgmt.ok("upload", "notes")
    (first,) = mgmt.json("log", "--type", "upload")
    assert [each["operation_id"] for each in mgmt.json("upload", "notes")] == [first["operation_id"]]
    assert "archived already" in mgmt.ok("upload", "./notes")
    (preview,) = mgmt.json("upload", "notes", "-n")
    assert (preview["status"], preview["bytes"], preview["object"]) == ("success", 0, first["result_path"])
    assert uploads(mgmt) == 1


def test_so_it_is_when_its_copy_was_freed_and_its_folder_removed(mgmt: Program) -> None:
    (mgmt.work / "day").mkdir()
    (mgmt.work / "day" / "x").write_text("x")
    mgmt.ok("upload", "day/x")
    mgmt.ok("free", "x", "--yes")
    (mgmt.work / "day" / "completed").rmdir()
    (mgmt.work / "day").rmdir()
    assert "archived already" in mgmt.ok("upload", "day/x", "notes")
    assert not (mgmt.work / "notes").exists()


def test_a_new_file_of_that_name_is_uploaded(mgmt: Program) -> None:
    mgmt.ok("upload", "notes")
    (mgmt.work / "notes").write_text("others")
    assert mgmt.run("upload", "notes").returncode == 10
    os.unlink(mgmt.work / "notes")
    assert mgmt.run("upload", "notes").returncode == 4  # what was there last was never archived
    (mgmt.work / "notes").write_text("others")
    mgmt.ok("upload", "notes", "--on-conflict", "rename")
    assert "notes-2.tar.gz" in mgmt.ok("upload", "notes", "--on-conflict", "rename")


def test_failures_of_finding_nothing_do_not_count(mgmt: Program) -> None:
    """An older mgmt has recorded one every night."""
    mgmt.ok("upload", "notes")
    (mgmt.home / "store" / "notes.tar.gz").rename(mgmt.home / "aside")
    assert mgmt.run("upload", "notes").returncode == 4
    (mgmt.home / "aside").rename(mgmt.home / "store" / "notes.tar.gz")
    mgmt.ok("upload", "notes")


def deleted(mgmt: Program) -> None:
    mgmt.ok("delete", "notes", "--yes")


def vanished(mgmt: Program) -> None:
    os.unlink(mgmt.home / "store" / "notes.tar.gz")


def replaced(mgmt: Program) -> None:
    """Its key holds another archive."""
    mgmt.ok("delete", "notes", "--yes")
    (mgmt.work / "other").write_text("other")
    mgmt.ok("upload", "other", "--key", "notes.tar.gz")


def restored_and_removed(mgmt: Program) -> None:
    """What was restored may have been edited before it was removed."""
    mgmt.ok("download", "notes")
    os.unlink(mgmt.work / "notes")


@pytest.mark.parametrize("then", [deleted, vanished, replaced, restored_and_removed])
def test_it_is_not_done_if_the_archive_is_gone_or_something_was_there_since(mgmt: Program, then: object) -> None:
    mgmt.ok("upload", "notes")
    then(mgmt)  # type: ignore[operator]
    assert mgmt.run("upload", "notes").returncode == 4
    assert mgmt.run("upload", "notes", "-n").returncode == 4


def test_it_is_not_done_in_another_store_or_under_another_key(mgmt: Program) -> None:
    mgmt.ok("upload", "notes")
    assert mgmt.run("upload", "notes", "--key", "other.tar.gz").returncode == 4
    assert mgmt.run("--store", f"file://{mgmt.home}/second", "upload", "notes").returncode == 4


def test_what_was_kept_or_partial_and_is_gone_is_not_done(mgmt: Program) -> None:
    mgmt.ok("upload", "notes", "--keep")
    os.unlink(mgmt.work / "notes")
    assert mgmt.run("upload", "notes").returncode == 4
    (mgmt.work / "folder").mkdir()
    (mgmt.work / "folder" / "x.tmp").write_text("x")
    assert mgmt.run("upload", "folder", "--exclude", "*.tmp").returncode == 3
    (mgmt.work / "folder").rename(mgmt.home / "elsewhere")
    assert mgmt.run("upload", "folder").returncode == 4


def test_a_list_of_finished_and_new_targets_ends_well(mgmt: Program) -> None:
    (mgmt.work / "list").write_text("notes\nmore\n")
    (mgmt.work / "more").write_text("more")
    mgmt.ok("upload", "--files-from", "list")
    (mgmt.work / "list").write_text("notes\nmore\nnew\n")
    (mgmt.work / "new").write_text("new")
    done = mgmt.run("-o", "jsonl", "upload", "--files-from", "list")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["s3_object_key"] for line in done.stdout.splitlines()] == [
        "notes.tar.gz",
        "more.tar.gz",
        "new.tar.gz",
    ]
    assert uploads(mgmt) == 3


def test_it_is_done_if_an_archive_of_the_same_content_has_replaced_a_lost_one(mgmt: Program) -> None:
    mgmt.ok("upload", "notes")
    vanished(mgmt)
    done = mgmt.run("upload", "notes")
    assert done.returncode == 4
    assert "notes.tar.gz is no longer there" in done.stderr
    assert f"try: mgmt verify {mgmt.store}/notes.tar.gz" in done.stderr
    for arguments in ("delete notes --yes", "upload --keep --key notes.tar.gz completed/notes"):
        mgmt.ok(*arguments.split())
    assert "archived already" in mgmt.ok("upload", "notes")
    assert mgmt.json("upload", "notes", "-n")[0]["status"] == "success"
