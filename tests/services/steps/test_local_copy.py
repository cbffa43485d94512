"""The copy that `--keep-archive` makes: that its name is taken has nothing to do with the key."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.moments import killed, meanwhile
from tests.program import Program

POLICIES = ("error", "skip", "rename")


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "notes").write_text("precious")
    (on_directory.home / "kept").mkdir()
    on_directory.records.wait()  # it exists before a child is forked
    return on_directory


def taken(mgmt: Program, name: str = "notes.tar.gz") -> Path:
    path = mgmt.home / "kept" / name
    path.write_text("another")
    return path


def stored(mgmt: Program) -> list[str]:
    return sorted(each.name for each in (mgmt.home / "store").glob("*.tar.gz"))


def refused(mgmt: Program, *words: str) -> None:
    """Neither the upload nor its dry run is done, and both say the same."""
    for last in (["-n"], []):
        done = mgmt.run("upload", "notes", "--keep-archive", "../kept", *words, *last)
        assert done.returncode == 10, done
        assert f"{mgmt.home}/kept/notes.tar.gz exists" in done.stderr
        assert "--keep-archive DIR" in done.stderr
    assert (mgmt.work / "notes").read_text() == "precious"
    assert not [each for each in (mgmt.home / "kept").iterdir() if each.name.endswith(".partial")]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_name_that_is_taken_is_an_error_before_anything_is_sent(mgmt: Program, policy: str) -> None:
    path = taken(mgmt)
    refused(mgmt, "--on-conflict", policy)
    assert stored(mgmt) == []
    assert path.read_text() == "another"
    path.unlink()
    mgmt.ok("upload", "notes", "--keep-archive", "../kept", "--on-conflict", policy)
    assert stored(mgmt) == ["notes.tar.gz"] == os.listdir(mgmt.home / "kept")


@pytest.mark.parametrize("policy", POLICIES)
def test_so_it_is_if_the_same_contents_are_archived_already(mgmt: Program, policy: str) -> None:
    mgmt.ok("upload", "notes", "--keep")
    taken(mgmt)
    refused(mgmt, "--on-conflict", policy)
    assert stored(mgmt) == ["notes.tar.gz"]


def test_the_name_follows_from_the_key_that_is_chosen(mgmt: Program) -> None:
    mgmt.ok("upload", "notes")
    (mgmt.work / "notes").write_text("precious")
    taken(mgmt)
    words = ("upload", "notes", "--keep-archive", "../kept", "--on-conflict")
    for last in (["-n"], []):
        assert mgmt.json(*words, "skip", *last)[0]["status"] == "cancelled"
    for last in (["-n"], []):
        assert mgmt.json(*words, "rename", *last)[0]["status"] == "success"
    assert sorted(os.listdir(mgmt.home / "kept")) == ["notes-2.tar.gz", "notes.tar.gz"] == stored(mgmt)


def test_of_two_targets_with_one_content_the_second_finds_the_name_taken(mgmt: Program) -> None:
    for name in ("a", "b"):
        (mgmt.work / name).mkdir()
        (mgmt.work / name / "same").write_text("same")
        os.utime(mgmt.work / name / "same", (1, 1))
    for last in (["-n"], []):
        done = mgmt.run("upload", "a/same", "b/same", "--keep-archive", "../kept", "--on-conflict", "skip", *last)
        assert done.returncode == 3, done
        assert "kept/same.tar.gz exists" in done.stderr
    assert (mgmt.work / "b" / "same").exists()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_name_that_is_taken_meanwhile_is_the_same_error(mgmt: Program, policy: str) -> None:
    words = ("upload", "notes", "--keep-archive", "../kept", "--on-conflict", policy)
    with meanwhile("mgmt.services.upload.finish_upload", lambda: taken(mgmt)):
        done = mgmt.run(*words)
    assert (done.returncode, (mgmt.work / "notes").exists()) == (10, True), done
    assert "--keep-archive DIR" in done.stderr
    assert stored(mgmt) == ["notes.tar.gz"]
    assert os.listdir(mgmt.home / "kept") == ["notes.tar.gz"]


@pytest.mark.parametrize("again", [(), ("--tag", "a=b")], ids=["same", "tagged"])
def test_a_name_that_is_taken_after_a_kill_is_foreseen(mgmt: Program, again: tuple[str, ...]) -> None:
    killed(mgmt, "upload", "notes", "--keep-archive", "../kept", at="mgmt.services.upload.finish_upload")
    taken(mgmt)
    refused(mgmt, *again)


def test_a_copy_of_a_killed_upload_takes_the_name_from_the_next_one(mgmt: Program) -> None:
    killed(mgmt, "upload", "notes", "--keep-archive", "../kept", at="mgmt.services.upload.finish_upload")
    for last in (["-n"], []):
        assert mgmt.run("upload", "notes", "--keep-archive", "../kept", "--tag", "a=b", *last).returncode == 10
    assert os.listdir(mgmt.home / "kept") == ["notes.tar.gz"]


def test_a_resumed_upload_that_fails_before_its_copy_has_a_name_takes_none(mgmt: Program) -> None:
    (mgmt.work / "twin").mkdir()
    shutil.copy2(mgmt.work / "notes", mgmt.work / "twin" / "notes")
    killed(mgmt, "upload", "notes", "--keep-archive", "../kept", at="mgmt.services.upload.finish_upload")
    (mgmt.work / "completed").write_text("not a folder")
    for last in (["-n"], []):
        done = mgmt.run("-o", "jsonl", "upload", "notes", "twin/notes", "--keep-archive", "../kept", *last)
        assert [json.loads(each)["status"] for each in done.stdout.splitlines()] == ["failed", "success"], done
    assert os.listdir(mgmt.home / "kept") == ["notes.tar.gz"]


def test_a_copy_that_a_kill_has_removed_is_made_again_or_missed(mgmt: Program) -> None:
    """Killed when the archive is proven, and again when the copy was removed because its name was taken meanwhile."""
    words = ("upload", "notes", "--keep-archive", "../kept")
    killed(mgmt, *words, at="mgmt.services.upload.finish_upload")
    path = taken(mgmt)
    killed(mgmt, *words, at="mgmt.services.steps.local_copy.remove_copy", after=True)
    assert os.listdir(mgmt.home / "kept") == ["notes.tar.gz"]
    refused(mgmt)
    assert mgmt.json("ls", "--location", "local")[0]["name"] == "notes"
    path.unlink()
    mgmt.ok(*words)
    assert path.read_bytes() == (mgmt.home / "store" / "notes.tar.gz").read_bytes()
