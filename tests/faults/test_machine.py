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
    """Mount, or skip the test where that is not permitted."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")


@contextmanager
def a_tmpfs(folder: Path, options: str) -> Iterator[Callable[[], None]]:
    """A file system of limited size; yields a function that makes room in it."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", options, "none", folder)
    try:
        yield lambda: mount("-o", f"remount,{ROOMY}", folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Disk:
    """An ext4 file system in a file, whose power can be cut."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image, self.folder = image, folder
        folder.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(48 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        self.mount()

    def mount(self) -> None:
        mount("-o", "loop,commit=600", self.image, self.folder)  # nothing is written without a sync

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
    """Programs whose files are all below one folder, temporary files included."""
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
    """Many members for a large index and catalog, and data for a large archive."""
    folder = mgmt.work / "trip"
    folder.mkdir()
    for number in range(400):
        (folder / f"{os.urandom(40).hex()} {number}").write_bytes(os.urandom(30))
    random_file(folder / "large", 100_000)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def run(mgmt: Program, *arguments: str | Path) -> Done:
    """In a process of its own, so that the next command sees that it has ended."""
    done = mgmt.run_process("-q", *arguments)
    return Done(done.returncode, done.stdout, done.stderr)


def assert_clear_error(done: Done) -> None:
    output = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr, output
    errors = [line for line in done.stderr.splitlines() if line.startswith("mgmt: ")]
    assert len(errors) == (1 if done.returncode else 0), output
    assert "Warning" not in done.stderr, output


def uploaded(mgmt: Program, original: dict[str, bytes]) -> bool:
    """Whether an upload succeeded; otherwise the original must be in place."""
    done = run(mgmt, "upload", "trip")
    assert_clear_error(done)
    in_place, moved = contents(mgmt.work / "trip"), contents(mgmt.work / "completed" / "trip")
    if done.returncode == 0:
        assert moved == original
        assert not in_place
        return True
    # Status 12: the work is done, but the catalog could not record it.
    assert (in_place, moved) in [(original, {}), *([({}, original)] if done.returncode == 12 else [])], done.stderr
    return False


def assert_retry_succeeds(mgmt: Program, original: dict[str, bytes]) -> None:
    """Once the fault is gone, the same command succeeds, and `recover` finishes its records."""
    if contents(mgmt.work / "trip"):
        done = run(mgmt, "upload", "trip")
        assert done.returncode == 0, done.stderr
    mgmt.ok("recover")
    assert contents(mgmt.work / "completed" / "trip") == original


def downloaded(mgmt: Program, original: dict[str, bytes]) -> bool:
    done = run(mgmt, "download", "trip", "--to", mgmt.home / "back")
    assert_clear_error(done)
    found = list((mgmt.home / "back").iterdir())
    if done.returncode == 0:
        assert [path.name for path in found] == ["trip"]
        assert contents(found[0]) == original
        return True
    # All or nothing; with status 12 the work is done, but the catalog could not record it.
    if done.returncode == 12 and found:
        assert [path.name for path in found] == ["trip"]
        assert contents(found[0]) == original
        shutil.rmtree(found[0])
    assert list((mgmt.home / "back").iterdir()) == [], f"exit {done.returncode}: {found}"
    return False


def assert_clean(mgmt: Program) -> None:
    """After `recover`, every file is where it belongs, and nothing is left over."""
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
def test_an_upload_without_room_fails_cleanly(program: Callable[[str], Program], place: str, figure: Figure) -> None:
    failed = 0
    for number, options in enumerate(OPTIONS):
        mgmt = program(f"round-{number}")
        original = make_original(mgmt)
        with a_tmpfs(mgmt.home / place, options) as make_room:
            if not uploaded(mgmt, original):
                failed += 1
                make_room()
                assert_retry_succeeds(mgmt, original)
            else:
                make_room()
            assert downloaded(mgmt, original)
            assert_clean(mgmt)
    assert failed > 2, "no run was short of room"
    figure(15, f"uploads with too little room or inodes: {place}", tried=failed, violations=0)


@pytest.mark.parametrize("place", ["back"])
def test_a_download_without_room_fails_cleanly(program: Callable[[str], Program], place: str, figure: Figure) -> None:
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
                continue  # tmpfs cannot add a limit of inodes
            if not downloaded(mgmt, original):
                failed += 1
                make_room()
                assert downloaded(mgmt, original)
            else:
                make_room()
            assert_clean(mgmt)
    assert failed > 2, "no run was short of room"
    figure(15, f"downloads with too little room or inodes: {place}", tried=failed, violations=0)


def test_an_upload_without_an_inode_for_the_move_leaves_the_original(
    program: Callable[[str], Program], figure: Figure
) -> None:
    """No inode is left to make completed/ beside the original."""
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
        assert_clean(mgmt)
        del make_room
    figure(15, "uploads with too little room or inodes: completed", tried=1, violations=0)


@pytest.mark.parametrize("place", ["catalog"])
def test_a_failing_disk_loses_nothing(
    program: Callable[[str], Program], place: str, tmp_path: Path, figure: Figure
) -> None:
    """Every call to the disk fails with EIO, until it is mounted again."""
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
            assert_clear_error(done)
            touches = {"upload": {"catalog", "tmp", "store"}, "download": {"catalog", "store", "back"}}
            if place in touches.get(str(command[0]), {"catalog", "store"}):
                assert done.returncode, f"{place}: {command} on a dead disk"
        disk.come_back()
        shutil.rmtree(mgmt.home / "back" / "lost+found", ignore_errors=True)
        shutil.rmtree(mgmt.home / "tmp" / "lost+found", ignore_errors=True)
        assert_retry_succeeds(mgmt, original)
        mgmt.ok("verify", "--all")
        assert mgmt.json("db", "check")["sound"]
    finally:
        disk.umount()
    figure(15, "commands on a disk that fails with EIO", tried=3, violations=0)


def killed_at_a_sync(mgmt: Program, when: int, trace: Path) -> "subprocess.CompletedProcess[str]":
    """Run an upload that is killed at its `when`-th fsync or fdatasync, if it makes that many."""
    inject = ["-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:signal=SIGKILL:when={when}"]
    command: list[str | Path] = ["strace", "-f", "-o", trace, *inject, *mgmt.command("upload", mgmt.work / "trip")]
    return subprocess.run(command, env=mgmt.env(), cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_a_power_cut_at_any_sync_loses_nothing(
    tmp_path: Path, program: Callable[[str], Program], figure: Figure
) -> None:
    """The power is cut at every sync of an upload, and when it has succeeded: all that is not synced is lost."""
    if shutil.which("strace") is None:
        pytest.skip("strace, which stops an upload at each of its syncs, is not installed")
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
            assert not (mgmt.home / "canary").exists(), "unsynced data survived: this was no power cut"
            in_place, moved = contents(mgmt.work / "trip"), contents(mgmt.work / "completed" / "trip")
            assert (in_place, moved) in [(original, {}), ({}, original)], f"cut at sync {cuts}"
            if finished:
                assert moved == original, "the upload had succeeded"
            if moved:
                mgmt.ok("recover")
            else:
                mgmt.ok("upload", "trip")
            assert contents(mgmt.work / "completed" / "trip") == original
            for left in (mgmt.home / "tmp").iterdir():  # its owner is gone: the system empties this folder at boot
                shutil.rmtree(left)
            assert downloaded(mgmt, original)
            assert_clean(mgmt)
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
    """A library that makes the wall clock jump, and counts the calls."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc, which compiles the clock, is not installed")
    (tmp_path / "jump.c").write_text(JUMP)
    library = tmp_path / "jump.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, tmp_path / "jump.c"], check=True)
    return library


@pytest.mark.usefixtures("catalogs")
@pytest.mark.parametrize("where", ["on_directory"])
@pytest.mark.parametrize("seconds", [3600])
def test_a_clock_jump_loses_nothing(
    request: pytest.FixtureRequest, where: str, seconds: int, jump: Path, tmp_path: Path, figure: Figure
) -> None:
    """At six moments of an upload and of a download; a server may then refuse requests for their time."""
    mgmt: Program = request.getfixturevalue(where)
    calls_file = tmp_path / "calls"
    tried = 0

    def run(after: int, *arguments: str | Path) -> tuple[int, int]:
        variables = {"LD_PRELOAD": str(jump), "JUMP_AFTER": str(after), "JUMP_SECONDS": str(seconds)}
        done = mgmt.run_process(*arguments, environment={**variables, "JUMP_COUNT": str(calls_file)})
        assert_clear_error(Done(done.returncode, done.stdout, done.stderr))
        return done.returncode, int(calls_file.read_text())

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
