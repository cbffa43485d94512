"""What is said of a path at which another file is than the one that was archived."""

import os
import shutil

import pytest

from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "clip").write_text("clip")
    return on_directory


def sentence(mgmt: Program, name: str) -> str:
    said = str(mgmt.json("status", name)["sentence"])
    return said.replace(mgmt.store, "STORE").replace(str(mgmt.work), "WORK")


OTHER = "Unproven: the file at WORK/clip is not what was archived; run mgmt upload --on-conflict rename WORK/clip"


def test_another_file_where_the_original_was_is_not_safe(mgmt: Program) -> None:
    mgmt.ok("upload", "clip")
    path = mgmt.work / "clip"
    safe = "Safe: 2 proven copies (STORE, completed/), last verified today; may be freed"
    for name in ("clip", str(path), "./clip", "clip.tar.gz", f"{mgmt.store}/clip.tar.gz"):
        assert sentence(mgmt, name) == safe
    path.write_text("other")
    assert sentence(mgmt, str(path)) == sentence(mgmt, "./clip") == OTHER
    assert mgmt.json("status", str(path))["level"] == "unproven"
    for name in ("clip", "clip.tar.gz", f"{mgmt.store}/clip.tar.gz", "completed/clip"):
        assert sentence(mgmt, name) == safe
    mgmt.ok("upload", "--on-conflict", "rename", path)
    assert sentence(mgmt, str(path)).startswith("Safe: ")


def test_a_kept_original_that_was_edited_is_not_safe(mgmt: Program) -> None:
    mgmt.ok("upload", "--keep", "clip")
    path = mgmt.work / "clip"
    kept = "Safe: 1 proven copy (STORE), last verified today; a copy is at WORK/clip"
    assert sentence(mgmt, str(path)) == kept
    before = path.stat()
    path.write_text("pilc")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
    assert sentence(mgmt, str(path)) == sentence(mgmt, "./clip") == OTHER
    mgmt.ok("upload", "--keep", "--on-conflict", "rename", path)
    assert sentence(mgmt, str(path)) == kept
    path.write_text("longer")
    assert sentence(mgmt, str(path)) == OTHER
    path.unlink()
    assert sentence(mgmt, str(path)).startswith("Safe: 1 proven copy (STORE), ")


def test_an_original_that_was_brought_back_is_what_was_archived(mgmt: Program) -> None:
    mgmt.ok("upload", "clip")
    mgmt.ok("download", "clip", "--to", ".")
    assert sentence(mgmt, str(mgmt.work / "clip")).startswith("Safe: 2 proven copies ")
    (mgmt.work / "clip").write_text("edited")
    assert sentence(mgmt, str(mgmt.work / "clip")) == OTHER
    shutil.move(mgmt.work / "completed" / "clip", mgmt.work / "clip")
    assert sentence(mgmt, str(mgmt.work / "clip")).startswith("Safe: 1 proven copy ")


def test_another_folder_where_the_original_was_is_not_safe(mgmt: Program) -> None:
    folder = mgmt.work / "tree"
    folder.mkdir()
    (folder / "one").write_text("1")
    mgmt.ok("upload", "tree")
    assert sentence(mgmt, str(folder)).startswith("Safe: 2 proven copies ")
    folder.mkdir()
    assert sentence(mgmt, str(folder)) == OTHER.replace("clip", "tree").replace("file", "folder")
