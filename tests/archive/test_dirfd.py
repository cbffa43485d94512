"""Removing trees: completely, or with an error that names the rest, and never more than the tree."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.archive import remove_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    for path in ("r/a/x", "r/b/c/y", "r/z"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "r" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    return folder


def test_remove_tree_takes_a_path_or_a_descriptor(root: Path, tmp_path: Path) -> None:
    remove_tree(os.fspath(root), "r")
    assert os.listdir(root) == []
    for path in ("r/x", "file"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text("")
    folder = os.open(root, os.O_RDONLY)
    try:
        root.rename(tmp_path / "moved")
        root.symlink_to(tmp_path / "kept")
        remove_tree(folder, "r")
        remove_tree(folder, "file")
        with pytest.raises(FileNotFoundError, match="'file'"):
            remove_tree(folder, "file")
        assert os.listdir(folder) == []
    finally:
        os.close(folder)
    assert (tmp_path / "kept" / "file").exists()


def test_a_link_is_removed_but_not_its_target(root: Path, tmp_path: Path) -> None:
    remove_tree(os.fspath(root / "r"), "link")
    assert (tmp_path / "kept" / "file").exists()


@pytest.mark.parametrize("mode", [0o555, 0o500, 0o400, 0o000])
def test_a_read_only_tree_1200_levels_deep_is_removed(as_user: Path, mode: int) -> None:
    here = os.open(as_user, os.O_RDONLY)
    held = []
    for level in range(1200):
        os.mkdir("d", dir_fd=here)
        if level % 10 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o400, dir_fd=here))
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.fchmod(below, 0o700)
        held.append(here)
        here = below
        if len(held) > 100:
            os.close(held.pop(0))
    # Bottom-up, since a folder without permissions cannot be entered.
    for _ in range(1200):
        above = os.open("..", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, mode)
        os.close(here)
        here = above
    os.close(here)
    for each in held:
        os.close(each)
    remove_tree(os.fspath(as_user), "d")
    assert os.listdir(as_user) == ["file"]


def test_a_failed_removal_names_the_path_and_can_be_resumed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = os.unlink

    def immutable(name: bytes, *, dir_fd: int) -> None:
        if name == b"y":
            raise PermissionError(1, "Operation not permitted", name)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", immutable)
    with pytest.raises(PermissionError) as caught:
        remove_tree(os.fspath(root), "r")
    assert caught.value.filename == f"{root}/r/b/c/y"
    assert (root / "r" / "b" / "c" / "y").exists()
    monkeypatch.undo()
    remove_tree(os.fspath(root), "r")
    assert os.listdir(root) == []


def test_a_folder_moved_concurrently_is_detected(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`..` becomes another folder with an entry of the same name."""
    (tmp_path / "kept" / "a").mkdir()
    unlink = os.unlink

    def and_move(name: bytes, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        if name == b"x":
            (root / "r" / "a").rename(tmp_path / "kept" / "moved")

    monkeypatch.setattr(os, "unlink", and_move)
    with pytest.raises(OSError, match="was moved") as caught:
        remove_tree(os.fspath(root), "r")
    assert caught.value.filename == f"{root}/r/a"
    assert sorted(os.listdir(tmp_path / "kept")) == ["a", "file", "moved"]


@pytest.fixture(params=["tmpfs", "bind"])
def mounted(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Iterator[Path]:
    place = root / "r" / "b" / "c"
    options = ["-t", "tmpfs", "none"] if request.param == "tmpfs" else ["--bind", os.fspath(tmp_path / "kept")]
    done = subprocess.run(["mount", *options, os.fspath(place)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here, so it was not tried: {done.stderr.strip()}")
    try:
        (place / "file").write_text("kept")
        yield place
    finally:
        subprocess.run(["umount", os.fspath(place)], check=True)


def test_a_mounted_filesystem_is_not_entered(mounted: Path, root: Path) -> None:
    with pytest.raises(OSError, match="is a mount point") as caught:
        remove_tree(os.fspath(root), "r")
    assert caught.value.filename == f"{root}/r/b/c"
    assert (mounted / "file").read_text() == "kept"
