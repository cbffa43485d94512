"""Originals on file systems that cannot do what ext4 can: they are moved all the same, or kept with a true record."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgmt.archive import move
from tests.integration import odd_disks
from tests.program import Program

pytestmark = pytest.mark.sqlite
PARTIAL, REFUSED = 3, 7
ODD: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "no flags of rename": lambda patch, _: odd_disks.without_noreplace(patch),
    "no hard links": lambda patch, _: odd_disks.without_hard_links(patch),
    "no hard links, by ENOTSUP": lambda patch, _: odd_disks.without_hard_links(patch, errno.ENOTSUP),
    "inodes from paths": odd_disks.with_inodes_from_paths,
    "folders not synced, by EINVAL": lambda patch, _: odd_disks.without_synced_folders(patch, errno.EINVAL),
    "folders not synced, by ENOTSUP": lambda patch, _: odd_disks.without_synced_folders(patch, errno.ENOTSUP),
}


def make(folder: Path) -> None:
    (folder / "file").write_text("content")
    (folder / "folder" / "inner").mkdir(parents=True)
    (folder / "folder" / "inner" / "one").write_text("one")


def moved_and_freed(mgmt: Program, folder: Path) -> None:
    """Upload, free and download a file and a folder in `folder`; everything must be done, and recorded as it is."""
    for name in ("file", "folder"):
        mgmt.ok("upload", name, cwd=folder)
        assert not (folder / name).exists()
        assert (folder / "completed" / name).exists()
        copies = mgmt.json("ls", "--location", "completed")
        assert [each["path"] for each in copies] == [f"{folder}/completed/{name}"]
        mgmt.ok("free", f"{folder}/completed/{name}", "--yes")
        assert mgmt.json("ls", "--location", "completed") == []
        mgmt.ok("download", name, "--to", folder / "back")
    assert (folder / "back" / "file").read_text() == "content"
    assert (folder / "back" / "folder" / "inner" / "one").read_text() == "one"
    assert mgmt.json("recover") == []


@pytest.mark.parametrize("odd", ODD)
def test_originals_are_moved_wherever_they_are(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    make(on_directory.work)
    ODD[odd](monkeypatch, on_directory.work)
    moved_and_freed(on_directory, on_directory.work)


@pytest.mark.parametrize("disk", [odd_disks.mergerfs, odd_disks.exfat])
def test_originals_are_moved_on_a_real_disk(on_directory: Program, tmp_path: Path, disk: Any) -> None:
    with disk(tmp_path) as folder:
        make(folder)
        moved_and_freed(on_directory, folder)


@pytest.mark.parametrize("name", ["file", "folder"])
def test_a_move_whose_inode_changed_is_recognized_after_a_kill(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Only where the original is gone: a copy under the new name is no move."""
    make(on_directory.work)
    odd_disks.with_inodes_from_paths(monkeypatch, on_directory.work)

    def and_killed(*arguments: Any, **folders: Any) -> None:
        move(*arguments, **folders)
        os._exit(9)

    def arm() -> None:
        monkeypatch.setattr("mgmt.services.steps.move_original.move", and_killed)

    with on_directory.fork("upload", name, arm=arm) as killed:
        assert killed.wait() == 9
    on_directory.ok("recover")
    (copy,) = on_directory.json("ls", "--location", "completed")
    assert copy["path"] == f"{on_directory.work}/completed/{name}"
    assert on_directory.json("ls", "--location", "local") == []


def impossible(number: int) -> Callable[..., Any]:
    def refuse(source: str, destination: str, *_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
@pytest.mark.parametrize("name", ["file", "folder"])
def test_an_original_that_the_system_refuses_to_move_stays_and_its_record_is_right(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    make(on_directory.work)
    with monkeypatch.context() as patch:
        patch.setitem(move.__globals__, "_rename_in_one_step", odd_disks.refusing(number))
        for _ in range(2):  # the second time nothing is sent
            done = on_directory.run("upload", name)
            assert done.returncode == PARTIAL, done
            assert "archived and proven, but the original stays where it is" in done.stderr
    assert (on_directory.work / name).exists()
    assert [each["path"] for each in on_directory.json("ls", "--location", "local")] == [f"{on_directory.work}/{name}"]
    assert on_directory.json("ls", "--location", "completed") == []
    on_directory.ok("verify", name)
    on_directory.ok("upload", name)  # whatever was in the way is gone
    assert [each["path"] for each in on_directory.json("ls", "--location", "completed")] == [
        f"{on_directory.work}/completed/{name}"
    ]


def test_a_move_that_the_disk_cannot_sync_is_recorded(on_directory: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    make(on_directory.work)
    monkeypatch.setitem(move.__globals__, "sync_folder", odd_disks.refusing(errno.EIO))
    on_directory.run("upload", "file")
    assert not (on_directory.work / "file").exists()
    (copy,) = on_directory.json("ls", "--location", "completed")
    assert copy["path"] == f"{on_directory.work}/completed/file"


def test_a_long_name_that_is_taken_in_completed_gets_one_that_fits(on_directory: Program) -> None:
    name = "é" * 117 + ".txt"
    for content in ("one", "two"):
        (on_directory.work / name).write_text(content)
        on_directory.ok("upload", "--key", content, name)
    names = sorted(os.listdir(on_directory.work / "completed"))
    assert len(names) == 2
    assert all(each.endswith(".txt") and len(os.fsencode(each)) <= 255 for each in names)


@pytest.mark.parametrize(
    ("flag", "where"), [("i", "file"), ("a", "file"), ("a", "."), ("i", "folder"), ("i", "completed")]
)
def test_what_is_immutable_is_refused_before_anything_is_sent(on_directory: Program, flag: str, where: str) -> None:
    make(on_directory.work)
    (on_directory.work / "completed").mkdir()
    fixed = on_directory.work / where
    if subprocess.run(["chattr", f"+{flag}", fixed], capture_output=True).returncode:
        pytest.skip("NOT TESTED: needs root, and a file system with flags")
    try:
        done = on_directory.run("upload", "folder" if where == "folder" else "file")
    finally:
        subprocess.run(["chattr", f"-{flag}", fixed], check=True)
    assert done.returncode == REFUSED, done
    assert f"chattr -ia {fixed}".rstrip("/.") in done.stderr
    assert on_directory.json("ls", "--live") == []


def test_a_bind_mount_is_refused_before_anything_is_sent(on_directory: Program) -> None:
    """It has the device of what is mounted, but nothing can be renamed across it."""
    make(on_directory.work)
    (on_directory.work / "completed").mkdir()
    (on_directory.home / "other").mkdir()
    bound = subprocess.run(
        ["mount", "--bind", on_directory.home / "other", on_directory.work / "completed"], capture_output=True
    )
    if bound.returncode:
        pytest.skip("NOT TESTED: needs root, for mounts")
    try:
        done = on_directory.run("upload", "file")
    finally:
        subprocess.run(["umount", on_directory.work / "completed"], check=True)
    assert done.returncode == REFUSED, done
    assert "another mount" in done.stderr


def test_a_folder_below_an_overlay_stays(on_directory: Program, tmp_path: Path) -> None:
    """Overlayfs answers EXDEV to the rename of a folder of its lower layer, which no look can tell before."""
    for name in ("lower/in", "upper", "work_", "merged"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lower" / "in" / "file").write_text("x")
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work_,redirect_dir=off"
    if subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, tmp_path / "merged"]).returncode:
        pytest.skip("NOT TESTED: needs root, for mounts")
    try:
        done = on_directory.run("upload", "in", cwd=tmp_path / "merged")
        assert done.returncode == PARTIAL, done
        assert (tmp_path / "merged" / "in" / "file").read_text() == "x"
        assert [each["path"] for each in on_directory.json("ls", "--location", "local")] == [f"{tmp_path}/merged/in"]
    finally:
        subprocess.run(["umount", tmp_path / "merged"], check=True)


def test_a_key_too_long_for_the_disk_of_the_store_is_refused_before_anything_is_sent(on_directory: Program) -> None:
    make(on_directory.work)
    done = on_directory.run("upload", "--key", "k" * 235, "file")
    assert done.returncode == REFUSED, done
    assert "names in" in done.stderr
    on_directory.ok("upload", "--key", "k" * 220, "file")


def test_a_copy_with_too_long_a_name_is_refused_before_anything_is_sent(on_seaweed: Program) -> None:
    make(on_seaweed.work)
    done = on_seaweed.run("upload", "--keep-archive", on_seaweed.home / "kept", "--key", "k" * 300, "file")
    assert done.returncode == REFUSED, done
    assert on_seaweed.json("ls", "--live") == []


@pytest.mark.skipif(sys.platform != "linux", reason="as the Linux kernel does it")
def test_what_is_another_users_in_a_sticky_folder_is_refused(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(on_directory.work)
    on_directory.work.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    done = on_directory.run("upload", "file")
    assert done.returncode == REFUSED, done
    assert "sticky" in done.stderr


@pytest.mark.parametrize("where", ["completed", "completed/file"])
def test_a_copy_that_could_not_be_removed_is_refused_before_it_is_compared(on_directory: Program, where: str) -> None:
    make(on_directory.work)
    on_directory.ok("upload", "file")
    fixed = on_directory.work / where
    if subprocess.run(["chattr", "+i", fixed], capture_output=True).returncode:
        pytest.skip("NOT TESTED: needs root, and a file system with flags")
    try:
        done = on_directory.run("free", "--yes", "completed/file")
    finally:
        subprocess.run(["chattr", "-i", fixed], check=True)
    assert done.returncode == REFUSED, done
    assert "completed/file cannot be removed, as" in done.stderr
    assert f"try: chattr -ia {fixed}" in done.stderr
    on_directory.ok("free", "--yes", "completed/file")
