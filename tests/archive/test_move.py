import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mgmt.archive import make_folders, move, rename_noreplace
from mgmt.archive.move import _rename_in_two_steps as rename_in_two_steps
from mgmt.errors import ConflictError, MgmtError

KINDS = ["file", "link", "folder", "full folder"]


def put(path: Path, kind: str, text: str = "content") -> None:
    if kind == "file":
        path.write_text(text)
    elif kind == "link":
        path.symlink_to(text)
    else:
        path.mkdir()
        if kind == "full folder":
            (path / "inside").write_text(text)


def look(path: Path) -> object:
    if path.is_symlink():
        return os.readlink(path)
    return path.read_text() if path.is_file() else {child.name: child.read_text() for child in path.iterdir()}


@pytest.mark.parametrize("rename", [rename_noreplace, rename_in_two_steps, move])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_can_be_moved(tmp_path: Path, rename: Callable[[str, str], None], kind: str) -> None:
    put(tmp_path / "a", kind)
    (tmp_path / "to").mkdir()
    before, inode = look(tmp_path / "a"), (tmp_path / "a").lstat().st_ino
    rename(os.fspath(tmp_path / "a"), os.fspath(tmp_path / "to" / "b"))
    assert look(tmp_path / "to" / "b") == before
    assert (tmp_path / "to" / "b").lstat().st_ino == inode
    assert not os.path.lexists(tmp_path / "a")


@pytest.mark.parametrize("taken", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_move_never_replaces_anything(tmp_path: Path, kind: str, taken: str) -> None:
    put(tmp_path / "a", kind, "new")
    put(tmp_path / "b", taken, "old")
    before = look(tmp_path / "a"), look(tmp_path / "b")
    with pytest.raises(ConflictError, match="b already exists"):
        rename_noreplace(os.fspath(tmp_path / "a"), os.fspath(tmp_path / "b"))
    with pytest.raises(FileExistsError):
        rename_in_two_steps(os.fspath(tmp_path / "a"), os.fspath(tmp_path / "b"))
    assert (look(tmp_path / "a"), look(tmp_path / "b")) == before


def test_a_name_taken_concurrently_by_a_folder_is_a_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a", "full folder")
    mkdir = os.mkdir

    def and_someone_else_fills_it(path: str, mode: int, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        Path(path, "someone else's").write_text("")

    monkeypatch.setattr(os, "mkdir", and_someone_else_fills_it)
    with pytest.raises(OSError, match="not empty"):
        rename_in_two_steps(os.fspath(tmp_path / "a"), os.fspath(tmp_path / "b"))
    assert look(tmp_path / "a") == {"inside": "content"}
    assert look(tmp_path / "b") == {"someone else's": ""}


@pytest.mark.parametrize("rename", [rename_noreplace, rename_in_two_steps])
def test_a_race_for_a_name_has_one_winner(tmp_path: Path, rename: Callable[[str, str], None]) -> None:
    for round_ in range(10):
        names = [tmp_path / f"{round_}-{number}" for number in range(8)]
        for name in names:
            name.write_text(name.name)
        start = threading.Barrier(len(names))
        won: list[str] = []

        def race(name: Path, start: threading.Barrier = start, won: list[str] = won, to: int = round_) -> None:
            start.wait()
            try:
                rename(os.fspath(name), os.fspath(tmp_path / f"{to}"))
            except (ConflictError, FileExistsError):
                return
            won.append(name.name)

        threads = [threading.Thread(target=race, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [(tmp_path / f"{round_}").read_text()]
        assert sum(name.exists() for name in names) == 7


def test_a_missing_source_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MgmtError, match="No such file"):
        rename_noreplace(os.fspath(tmp_path / "a"), os.fspath(tmp_path / "b"))


def test_a_move_to_another_filesystem_is_refused(tmp_path: Path) -> None:
    here = tmp_path.stat().st_dev
    other = next(
        (each for each in map(Path, ("/dev/shm", "/var/tmp")) if each.is_dir() and each.stat().st_dev != here), None
    )
    if other is None:
        pytest.skip("there is no second filesystem to try it on")
    put(tmp_path / "a", "file")
    with pytest.raises(MgmtError, match="on another filesystem"):
        rename_noreplace(os.fspath(tmp_path / "a"), os.fspath(other / f"mgmt-test-{os.getpid()}"))
    assert look(tmp_path / "a") == "content"


@pytest.mark.parametrize("one_step", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_descriptors_decide_what_is_moved(
    tmp_path: Path, kind: str, one_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both folders are replaced by links after they were opened."""
    if not one_step:
        monkeypatch.setattr(sys.modules[rename_in_two_steps.__module__], "_rename_in_one_step", lambda *_: False)
    for folder in ("here", "there", "secret", "elsewhere"):
        (tmp_path / folder).mkdir()
    put(tmp_path / "here" / "it", kind, "ours")
    put(tmp_path / "secret" / "it", kind, "not ours")
    before = look(tmp_path / "here" / "it")
    here, there = (os.open(tmp_path / folder, os.O_RDONLY) for folder in ("here", "there"))
    for folder, other in (("here", "secret"), ("there", "elsewhere")):
        (tmp_path / folder).rename(tmp_path / f"real {folder}")
        (tmp_path / folder).symlink_to(other)
    synced: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    try:
        move(
            os.fspath(tmp_path / "here" / "it"),
            os.fspath(tmp_path / "there" / "moved"),
            source_folder=here,
            destination_folder=there,
        )
        with pytest.raises(MgmtError, match=r"here/it cannot be moved to .*/there/moved: No such file"):
            rename_noreplace(
                f"{tmp_path}/here/it", f"{tmp_path}/there/moved", source_folder=here, destination_folder=there
            )
        assert synced == [there, here]
        put(tmp_path / "real here" / "it", kind)
        with pytest.raises(ConflictError, match="there/moved already exists"):
            move("it", f"{tmp_path}/there/moved", source_folder=here, destination_folder=there)
    finally:
        os.close(here)
        os.close(there)
    assert look(tmp_path / "real there" / "moved") == before
    assert os.listdir(tmp_path / "secret") == ["it"]
    assert os.listdir(tmp_path / "elsewhere") == []


def test_names_of_arbitrary_bytes_are_moved(tmp_path: Path) -> None:
    old, new = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/\xff\n", b"/\xfe"))
    Path(old).write_text("x")
    move(old, new)
    assert Path(new).read_text() == "x"


def test_each_new_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    make_folders(os.fspath(tmp_path / "a" / "b" / "c"))
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [os.fspath(tmp_path), os.fspath(tmp_path / "a"), os.fspath(tmp_path / "a" / "b")]
    make_folders(os.fspath(tmp_path / "a" / "b"))
    assert len(synced) == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_folders(os.fspath(tmp_path / "file"))


def test_both_folders_are_synced_after_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new folder is synced first: a power cut in between leaves two names, never none."""
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    put(tmp_path / "here" / "it", "file")
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        assert (tmp_path / "there" / "it").exists()
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    move(os.fspath(tmp_path / "here" / "it"), os.fspath(tmp_path / "there" / "it"))
    assert synced == [os.fspath(tmp_path / "there"), os.fspath(tmp_path / "here")]


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="this system opens no folder that cannot be read")
@pytest.mark.parametrize("side", ["source_folder", "destination_folder"])
def test_a_folder_that_cannot_be_synced_refuses_the_move(tmp_path: Path, side: str) -> None:
    (tmp_path / "file").write_text("here")
    folders = {"source_folder": os.O_RDONLY, "destination_folder": os.O_RDONLY} | {side: os.O_PATH}
    opened = {each: os.open(tmp_path, flags) for each, flags in folders.items()}
    try:
        with pytest.raises(MgmtError, match="cannot be opened"):
            move(f"{tmp_path}/file", f"{tmp_path}/other", **opened)
    finally:
        for descriptor in opened.values():
            os.close(descriptor)
    assert (tmp_path / "file").read_text() == "here"
