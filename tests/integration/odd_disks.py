"""File systems that answer otherwise than ext4: real ones, and their answers given by this process."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mgmt.archive import move


def refusing(number: int) -> Callable[..., Any]:
    """A function that fails as the system does."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def without_noreplace(monkeypatch: pytest.MonkeyPatch) -> None:
    """FUSE: renameat2(2) knows no flags."""
    monkeypatch.setitem(move.__globals__, "_rename_in_one_step", lambda *_: False)


def without_hard_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    """exFAT, s3fs: neither flags nor hard links."""
    without_noreplace(monkeypatch)
    monkeypatch.setattr(os, "link", refusing(number))


def without_synced_folders(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Some FUSE and network file systems: fsync(2) of a folder is invalid."""
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)


def with_inodes_from_paths(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """mergerfs at `root`, with inodecalc=path-hash: a rename changes the inodes of what it moves and of all in it."""
    without_noreplace(monkeypatch)
    stat, fstat = os.stat, os.fstat

    def numbered(found: os.stat_result, path: str) -> os.stat_result:
        if not Path(path).is_relative_to(root):
            return found
        names = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blocks", "st_blksize", "st_rdev")
        fields = [*found]
        fields[1] = hash(path)
        return os.stat_result(fields, {name: getattr(found, name) for name in names})

    def place(path: Any, dir_fd: int | None) -> str:
        text = os.fsdecode(path)
        return os.path.normpath(os.path.join(os.getcwd() if dir_fd is None else here(dir_fd), text))

    def here(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def stat_at(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        found = stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        return numbered(found, here(path) if isinstance(path, int) else place(path, dir_fd))

    monkeypatch.setattr(os, "stat", stat_at)
    monkeypatch.setattr(os, "fstat", lambda descriptor: numbered(fstat(descriptor), here(descriptor)))


@contextmanager
def mergerfs(folder: Path) -> Iterator[Path]:
    """A real mergerfs in `folder` whose inodes come from paths."""
    branch, mount = folder / "branch", folder / "merged"
    for each in (branch, mount):
        each.mkdir()
    options = "use_ino,inodecalc=path-hash,cache.attr=0,cache.entry=0"
    with _mounted(["mergerfs", "-o", options, str(branch), str(mount)], mount):
        yield mount


_EXFAT = 'mkfs.exfat "$1" && loop=$(losetup -f --show "$1") && mount.exfat-fuse "$loop" "$2"; losetup -d "$loop"'


@contextmanager
def exfat(folder: Path) -> Iterator[Path]:
    """A real exFAT in `folder`."""
    image, mount = folder / "exfat.img", folder / "exfat"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    with _mounted(["sh", "-c", _EXFAT, "sh", str(image), str(mount)], mount):
        yield mount


@contextmanager
def small_attributes(folder: Path) -> Iterator[Path]:
    """A real ext4 in `folder`: all extended attributes of a file take at most one block."""
    image, mount = folder / "ext4.img", folder / "ext4"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    with _mounted(["sh", "-c", 'mkfs.ext4 -q "$1" && mount -o loop "$1" "$2"', "sh", str(image), str(mount)], mount):
        yield mount


@contextmanager
def _mounted(command: list[str], mount: Path) -> Iterator[None]:
    needed = command[2].split()[0] if command[0] == "sh" else command[0]
    if os.geteuid() != 0 or shutil.which(needed) is None:
        pytest.skip(f"NOT TESTED: needs root and {needed}")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not mount.is_mount():
        pytest.skip(f"NOT TESTED: nothing could be mounted: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", mount], check=True)
