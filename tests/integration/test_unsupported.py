"""`mgmt download` to a file system that cannot hold all that an archive holds."""

import errno
import os
from typing import Any

import pytest

from tests.integration import odd_disks
from tests.program import Program

pytestmark = pytest.mark.sqlite


def test_a_member_that_cannot_be_held_is_named_and_may_be_left_out(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    mgmt, folder = on_directory, on_directory.work / "folder"
    folder.mkdir()
    (folder / "file").write_text("content")
    (folder / "link").symlink_to("file")
    mgmt.ok("upload", "--keep", "folder")
    monkeypatch.setattr(os, "symlink", odd_disks.refusing(errno.EPERM))

    done = mgmt.run("download", "folder", "--to", "back")
    assert done.returncode == 1, done
    assert f"{mgmt.work}/back cannot hold folder/link: its file system has no symbolic links" in done.stderr
    assert "try: mgmt download --skip-unsupported" in done.stderr
    assert os.listdir(mgmt.work / "back") == []

    done = mgmt.run("download", "folder", "--to", "back", "--skip-unsupported")
    assert done.returncode == 3, done
    assert "left out  folder/link: its file system has no symbolic links" in done.stdout
    assert os.listdir(mgmt.work / "back" / "folder") == ["file"]
    mgmt.ok("download", "folder", "--member", "file", "--to", "part")

    (record, *_) = [each for each in mgmt.json("log") if each["status"] == "partial"]
    assert record["metadata"]["skipped"][0]["path"] == "folder/link"
    assert record["digest"] is None


def test_what_was_restored_in_part_is_no_copy_of_the_content(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    mgmt, folder = on_directory, on_directory.work / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("file")
    (folder / "file").write_text("content")
    mgmt.ok("upload", "folder")
    mgmt.ok("free", "completed/folder", "--yes")

    def refuse(*arguments: Any, **_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "symlink", refuse)
    assert mgmt.run("download", "folder", "--to", "back", "--skip-unsupported").returncode == 3
    assert mgmt.run("delete", "folder", "--yes").returncode == 7
    mgmt.ok("verify", "folder")
