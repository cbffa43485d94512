"""Full disks, disks without inodes, disks that die, power that goes, and clocks that jump. Only root may mount."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.program import Done, Program
from tests.trees import random_file

pytestmark = pytest.mark.torture

ROOMY = "size=64m,nr_inodes=0"
PLACES = ("catalog", "tmp", "store", "back", "work")
NOLOGFLUSH, SHUTDOWN = 2, 0x8004587D
"""EXT4_GOING_FLAGS_NOLOGFLUSH and EXT4_IOC_SHUTDOWN: stop now, and write down nothing more, not even the journal."""


def mount(*arguments: str | Path) -> None:
    """Skip, and say so, where that is not permitted."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine does not permit to mount: {done.stderr.strip()}")


@contextmanager
def a_tmpfs(folder: Path, options: str) -> Iterator[Callable[[], None]]:
    """A file system with so much room, and what makes room in it."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", options, "none", folder)
    try:
        yield lambda: mount("-o", f"remount,{ROOMY}", folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Disk:
    """An ext4 file system in a file, from which the power can be taken."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image, self.folder = image, folder
        folder.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(48 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        self.mount()

    def mount(self) -> None:
        mount("-o", "loop,commit=600", self.image, self.folder)  # nothing is written that nobody asked for

    def die(self) -> None:
        """From now on all input and output fails, and what was not synced is lost."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, NOLOGFLUSH.to_bytes(4, "little"))
        finally:
            os.close(descriptor)

    def come_back(self) -> None:
        """As after a power cut: the journal is replayed."""
        self.umount()
        self.mount()

    def umount(self) -> None:
        subprocess.run(["umount", self.folder], check=True)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Program]]:
    """Programs with all they use below one folder, temporary files, too."""
    if os.getuid():
        pytest.skip("only root may mount")

    def make(name: str) -> Program:
        home = tmp_path / name
        for place in PLACES:
            (home / place).mkdir(parents=True)
        monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
        return Program(home, f"file://{home}/store/archive", {"TMPDIR": str(home / "tmp")})

    yield make
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder, ignore_errors=True)


def make_original(mgmt: Program) -> dict[str, bytes]:
    """Many members, so that index and catalog are large, and some data, so that the archive is."""
    folder = mgmt.work / "trip"
    folder.mkdir()
    for number in range(400):
        (folder / f"{os.urandom(40).hex()} {number}").write_bytes(os.urandom(30))
    random_file(folder / "large", 100_000)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def run(mgmt: Program, *arguments: str | Path) -> Done:
    """In a process of its own, which is gone afterwards, as whoever takes over must see."""
    done = mgmt.run_process("-q", *arguments)
    return Done(done.returncode, done.stdout, done.stderr)


def told_well(done: Done) -> None:
    told = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr, told
    errors = [line for line in done.stderr.splitlines() if line.startswith("mgmt: ")]
    assert len(errors) == (1 if done.returncode else 0), told
    assert "Warning" not in done.stderr, told


def uploaded(mgmt: Program, original: dict[str, bytes]) -> bool:
    """Whether an upload was wholly done; otherwise the original must be where it was."""
    done = run(mgmt, "upload", "trip")
    told_well(done)
    at_home, moved = contents(mgmt.work / "trip"), contents(mgmt.work / "completed" / "trip")
    if done.returncode == 0:
        assert moved == original
        assert not at_home
        return True
    # Only that it is done may have been beyond the catalog.
    assert (at_home, moved) in [(original, {}), *([({}, original)] if done.returncode == 12 else [])], done.stderr
    return False


def done_at_last(mgmt: Program, original: dict[str, bytes]) -> None:
    """What went wrong is mended: the same command again does it, and `recover` settles what it had done."""
    if contents(mgmt.work / "trip"):
        done = run(mgmt, "upload", "trip")
        assert done.returncode == 0, done.stderr
    mgmt.ok("recover")
    assert contents(mgmt.work / "completed" / "trip") == original


def downloaded(mgmt: Program, original: dict[str, bytes]) -> bool:
    done = run(mgmt, "download", "trip", "--to", mgmt.home / "back")
    told_well(done)
    found = list((mgmt.home / "back").iterdir())
    if done.returncode == 0:
        assert [path.name for path in found] == ["trip"]
        assert contents(found[0]) == original
        return True
    # All or nothing: only that it is done may have been beyond the catalog.
    if done.returncode == 12 and found:
        assert [path.name for path in found] == ["trip"]
        assert contents(found[0]) == original
        shutil.rmtree(found[0])
    assert list((mgmt.home / "back").iterdir()) == [], f"exit {done.returncode}: {found}"
    return False


def clean(mgmt: Program) -> None:
    """Everything is where it belongs, and nothing else is anywhere, once what was cut off is settled."""
    mgmt.ok("recover")
    assert list((mgmt.home / "tmp").iterdir()) == []
    archive = mgmt.home / "store" / "archive"
    assert len([path for path in archive.iterdir() if path.is_file()]) == 2, list(archive.iterdir())
    assert [path.read_text() for path in (archive / ".mgmt" / "uploads").glob("*.json")] == []
    assert not list((archive / ".mgmt" / "uploads").iterdir())
    assert not {each["status"] for each in mgmt.json("log", "--limit", "100")} & {"running", "pending"}
    assert mgmt.json("db", "check")["sound"]
    mgmt.ok("verify", "--all", "--read-back")


OPTIONS = [
    *(f"size={size}k,nr_inodes=0" for size in (8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1536)),
    *(f"size=64m,nr_inodes={count}" for count in (1, 2, 3, 4, 5, 6, 8, 10)),
]


@pytest.mark.parametrize("place", ["catalog", "tmp"])
def test_an_upload_without_room(program: Callable[[str], Program], place: str, figure: Figure) -> None:
    failed = 0
    for number, options in enumerate(OPTIONS):
        mgmt = program(f"round-{number}")
        original = make_original(mgmt)
        with a_tmpfs(mgmt.home / place, options) as make_room:
            if not uploaded(mgmt, original):
                failed += 1
                make_room()
                done_at_last(mgmt, original)
            else:
                make_room()
            assert downloaded(mgmt, original)
            clean(mgmt)
    assert failed > 2, "there was room all the time"
    figure(15, f"uploads with too little room or inodes: {place}", tried=failed, violations=0)


@pytest.mark.parametrize("place", ["back"])
def test_a_download_without_room(program: Callable[[str], Program], place: str, figure: Figure) -> None:
    failed = 0
    for number, options in enumerate(OPTIONS):
        mgmt = program(f"round-{number}")
        original = make_original(mgmt)
        assert uploaded(mgmt, original)
        kept = mgmt.home / "kept"
        shutil.copytree(mgmt.home / place, kept)
        with a_tmpfs(mgmt.home / place, ROOMY) as make_room:
            shutil.copytree(kept, mgmt.home / place, dirs_exist_ok=True)
            used = os.statvfs(mgmt.home / place)
            room = (used.f_blocks - used.f_bfree) * used.f_frsize // 1024
            inodes = used.f_files - used.f_ffree if used.f_files else len(list(kept.rglob("*"))) + 1
            size, count = (int(each.split("=")[1].rstrip("km")) for each in options.split(","))
            tight = f"size={room + size // 4}k,nr_inodes=0" if count == 0 else f"size=64m,nr_inodes={inodes + count}"
            if subprocess.run(["mount", "-o", f"remount,{tight}", mgmt.home / place], capture_output=True).returncode:
                continue  # tmpfs does not go from no limit of inodes to one
            if not downloaded(mgmt, original):
                failed += 1
                make_room()
                assert downloaded(mgmt, original)
            else:
                make_room()
            clean(mgmt)
    assert failed > 2, "there was room all the time"
    figure(15, f"downloads with too little room or inodes: {place}", tried=failed, violations=0)


def test_no_inode_for_the_move(program: Callable[[str], Program], figure: Figure) -> None:
    """The folder completed/ cannot be made, as there is no inode left beside the original."""
    mgmt = program("round")
    with a_tmpfs(mgmt.work, "size=64m,nr_inodes=1000") as make_room:
        original = make_original(mgmt)
        for number in range(1000):
            try:
                (mgmt.work / f"filler-{number}").touch()
            except OSError:
                break
        assert not uploaded(mgmt, original)
        for filler in mgmt.work.glob("filler-*"):
            filler.unlink()
        assert uploaded(mgmt, original)
        assert downloaded(mgmt, original)
        clean(mgmt)
        del make_room
    figure(15, "uploads with too little room or inodes: completed", tried=1, violations=0)


@pytest.mark.parametrize("place", ["catalog"])
def test_a_disk_that_dies(program: Callable[[str], Program], place: str, tmp_path: Path, figure: Figure) -> None:
    """Every call to it fails with EIO; then it comes back."""
    mgmt = program("round")
    disk = Disk(tmp_path / "image", mgmt.home / place)
    try:
        original = make_original(mgmt)
        (mgmt.work / "first").write_bytes(b"first")
        mgmt.ok("upload", "first", "--keep")
        os.sync()
        disk.die()
        for command in (
            ["upload", mgmt.work / "trip"],
            ["download", "first", "--to", mgmt.home / "back"],
            ["verify", "first"],
        ):
            done = run(mgmt, *command)
            told_well(done)
            touches = {"upload": {"catalog", "tmp", "store"}, "download": {"catalog", "store", "back"}}
            if place in touches.get(str(command[0]), {"catalog", "store"}):
                assert done.returncode, f"{place}: {command} on a dead disk"
        disk.come_back()
        shutil.rmtree(mgmt.home / "back" / "lost+found", ignore_errors=True)
        shutil.rmtree(mgmt.home / "tmp" / "lost+found", ignore_errors=True)
        done_at_last(mgmt, original)
        mgmt.ok("verify", "--all")
        assert mgmt.json("db", "check")["sound"]
    finally:
        disk.umount()
    figure(15, "commands on a disk that fails with EIO", tried=3, violations=0)


def killed_at_a_sync(mgmt: Program, when: int, trace: Path) -> "subprocess.CompletedProcess[str]":
    """An upload that is killed as it enters its `when`-th fsync or fdatasync, if there are so many."""
    inject = ["-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:signal=SIGKILL:when={when}"]
    command: list[str | Path] = ["strace", "-f", "-o", trace, *inject, *mgmt.command("upload", mgmt.work / "trip")]
    return subprocess.run(command, env=mgmt.env(), cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_the_power_goes(tmp_path: Path, program: Callable[[str], Program], figure: Figure) -> None:
    """At every sync of an upload, and when it says that it is done: what was not synced by then is lost."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace to stop an upload at each of its syncs")
    cuts, finished = 0, False
    while not finished:
        cuts += 1
        mgmt = program(f"round-{cuts}")
        disk = Disk(tmp_path / f"image-{cuts}", mgmt.home)
        try:
            for place in PLACES:
                (mgmt.home / place).mkdir(exist_ok=True)
            original = make_original(mgmt)
            os.sync()
            done = killed_at_a_sync(mgmt, cuts, tmp_path / "trace")
            finished = done.returncode == 0
            assert finished or done.returncode in (-9, 137), done.stderr
            (mgmt.home / "canary").write_text("not synced")
            disk.die()
            disk.come_back()
            assert not (mgmt.home / "canary").exists(), "what was not synced is there: this was no power cut"
            at_home, moved = contents(mgmt.work / "trip"), contents(mgmt.work / "completed" / "trip")
            assert (at_home, moved) in [(original, {}), ({}, original)], f"cut at sync {cuts}"
            if finished:
                assert moved == original, "it said that it was done"
            if moved:
                mgmt.ok("recover")
            else:
                mgmt.ok("upload", "trip")
            assert contents(mgmt.work / "completed" / "trip") == original
            for left in (mgmt.home / "tmp").iterdir():  # the power took its owner: the system empties this folder
                shutil.rmtree(left)
            assert downloaded(mgmt, original)
            clean(mgmt)
        finally:
            disk.umount()
            (tmp_path / f"image-{cuts}").unlink()
    assert cuts > 5
    figure(2, "power cuts, one at each sync of an upload (ext4)", tried=cuts, violations=0)


JUMP = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>

static long calls;

static long jump(void) {
    const char *after = getenv("JUMP_AFTER"), *seconds = getenv("JUMP_SECONDS");
    long seen = __sync_add_and_fetch(&calls, 1);
    return after && seconds && seen > atol(after) ? atol(seconds) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += jump();
    return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
__attribute__((destructor)) static void count(void) {
    const char *path = getenv("JUMP_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) { fprintf(file, "%ld", calls); fclose(file); }
}
"""


@pytest.fixture
def jump(tmp_path: Path) -> Path:
    """A library that makes the wall clock jump, and counts how often it is asked."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to compile a clock that jumps")
    (tmp_path / "jump.c").write_text(JUMP)
    library = tmp_path / "jump.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, tmp_path / "jump.c"], check=True)
    return library


@pytest.mark.usefixtures("catalogs")
@pytest.mark.parametrize("where", ["on_directory"])
@pytest.mark.parametrize("seconds", [3600])
def test_the_clock_jumps(
    request: pytest.FixtureRequest, where: str, seconds: int, jump: Path, tmp_path: Path, figure: Figure
) -> None:
    """At six moments of an upload and of a download, which a server may refuse then, as coming from another time."""
    mgmt: Program = request.getfixturevalue(where)
    asked = tmp_path / "asked"
    tried = 0

    def run(after: int, *arguments: str | Path) -> tuple[int, int]:
        variables = {"LD_PRELOAD": str(jump), "JUMP_AFTER": str(after), "JUMP_SECONDS": str(seconds)}
        done = mgmt.run_process(*arguments, environment={**variables, "JUMP_COUNT": str(asked)})
        told_well(Done(done.returncode, done.stdout, done.stderr))
        return done.returncode, int(asked.read_text())

    random_file(mgmt.work / "calm", 3_000_000)
    status, calls = run(10**9, "upload", "calm")
    assert status == 0
    for step in range(6):
        name, after = f"file-{step}", calls * step // 6
        original = random_file(mgmt.work / name, 3_000_000, seed=step + 2).read_bytes()
        status, seen = run(after, "upload", name)
        assert seen > after, "the clock did not jump"
        if where == "on_directory":
            assert status == 0
        elif status:
            assert (mgmt.work / name).read_bytes() == original
            mgmt.ok("upload", name)
        assert (mgmt.work / "completed" / name).read_bytes() == original
        assert not (mgmt.work / name).exists()
        status, _ = run(after // 2, "download", name, "--to", "back")
        if status:
            assert where != "on_directory"
            assert not (mgmt.work / "back" / name).exists()
            mgmt.ok("download", name, "--to", "back")
        assert (mgmt.work / "back" / name).read_bytes() == original
        tried += 2
    records = mgmt.json("log", "--limit", "100")
    assert [each["seq"] for each in records] == sorted((each["seq"] for each in records), reverse=True)
    assert {each["status"] for each in records} <= {"success", "failed"}
    assert all(each["duration_seconds"] >= 0 for each in records)
    mgmt.ok("verify", "--all", "--read-back")
    figure(12, "clock jumps of an hour forward", tried=tried, violations=0)
