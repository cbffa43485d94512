"""Values beyond a limit are refused before anything is sent; values just within it are restored exactly."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.archive import limits
from mgmt.storage import open_store
from tests.catalogs import Catalogs
from tests.disk import folder_on_disk
from tests.program import Program

pytestmark = pytest.mark.sqlite  # these tests do not depend on the catalog

REFUSED = 7


@pytest.fixture(params=["on_seaweed", "on_directory"])
def anywhere(request: pytest.FixtureRequest, catalogs: Catalogs) -> Program:
    """mgmt with a server whose checksum is proof, and with a directory, which is read back."""
    program: Program = request.getfixturevalue(request.param)
    return program


@pytest.fixture(params=["on a disk", "in memory"])
def here(request: pytest.FixtureRequest, anywhere: Program, tmp_path: Path) -> Iterator[Program]:
    """mgmt on a disk and on tmpfs, which differ in the times and attributes that they support."""
    if request.param == "on a disk":
        with folder_on_disk(tmp_path) as home:
            yield replace(anywhere, home=home)
            anywhere.catalogs.forget(home)
        return
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("NOT TESTED: there is no /dev/shm")
    home = folder / f"mgmt-test-{os.getpid()}"
    home.mkdir()
    yield replace(anywhere, home=home)
    anywhere.catalogs.forget(home)
    shutil.rmtree(home)


@pytest.fixture(params=["single", "in a folder"])
def file(request: pytest.FixtureRequest, here: Program) -> Path:
    path = here.work / ("clip" if request.param == "single" else "shoot/deep/clip")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("precious")
    return path


def target(program: Program, file: Path) -> str:
    return file.relative_to(program.work).parts[0]


def identity(path: Path) -> tuple[int, int, int, int]:
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def assert_refused(program: Program, file: Path, why: str, *options: str) -> None:
    before = identity(file)
    for words in (["-n"], [], ["--keep"], ["--on-conflict", "rename"]):
        done = program.run("upload", *options, *words, target(program, file))
        assert done.returncode == REFUSED, (words, done)
        assert f"{file} cannot be archived: {why}" in done.stderr
        assert "try: " in done.stderr
        store = open_store(program.store)
        assert [*store.list(), *store.pending()] == []
    assert identity(file) == before
    assert not (program.work / "completed").exists()
    assert [each["status"] for each in program.json("log", "--type", "upload")] == ["failed"] * 3
    assert program.json("recover") == []


def has_time(path: Path, mtime_ns: int) -> bool:
    os.utime(path, ns=(0, mtime_ns))
    return path.stat().st_mtime_ns == mtime_ns


@pytest.mark.parametrize("time", [limits.TIME_NS, -limits.TIME_NS - 1, 10413792000 * 10**9])
def test_a_time_beyond_the_limit_is_refused_before_anything_is_sent(here: Program, file: Path, time: int) -> None:
    if not has_time(file, time):
        pytest.skip("this file system does not support such times (the other one does)")
    assert_refused(here, file, "its modification time is outside")
    os.utime(file)
    here.ok("upload", target(here, file))


def test_the_time_of_a_folder_is_limited_as_well(here: Program, file: Path) -> None:
    folder = file.parent
    if folder == here.work:
        pytest.skip("a single file has no folder")
    if not has_time(folder, limits.TIME_NS):
        pytest.skip("this file system does not support such times (the other one does)")
    assert_refused(here, folder, "its modification time is outside")


@pytest.mark.parametrize("time", [limits.TIME_NS - 1, -limits.TIME_NS, -1])
def test_a_time_just_within_the_limit_is_restored(here: Program, file: Path, time: int) -> None:
    if not has_time(file, time):
        pytest.skip("this file system does not support such times (the other one does)")
    here.ok("upload", target(here, file))
    here.ok("free", "--yes", target(here, file))
    here.ok("verify", "--read-back", "--all")
    here.ok("download", target(here, file), "--to", "back")
    assert (here.work / "back" / file.relative_to(here.work)).stat().st_mtime_ns == time
    here.records.remove()
    here.ok("db", "rebuild")
    here.ok("verify", "--all")


def attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def add_attributes(path: Path, count: int) -> None:
    try:
        for number in range(count):
            os.setxattr(path, f"user.note{number}", bytes([number]) * 60_000)
    except OSError:
        pytest.skip("this file system does not support such attributes (tmpfs does)")


def test_attributes_beyond_the_limit_are_refused_before_anything_is_sent(here: Program, file: Path) -> None:
    add_attributes(file, 20)
    assert_refused(here, file, "its extended attributes take 120", "--xattrs")
    here.ok("upload", target(here, file))  # without them


def test_attributes_of_a_folder_are_limited_as_well(here: Program, file: Path) -> None:
    if file.parent == here.work:
        pytest.skip("a single file has no folder")
    add_attributes(file.parent, 20)
    assert_refused(here, file.parent, "its extended attributes take 120", "--xattrs")


def test_attributes_just_within_the_limit_are_restored(here: Program, file: Path) -> None:
    add_attributes(file, 17)
    before = attributes(file)
    here.ok("upload", "--xattrs", target(here, file))
    here.ok("free", "--yes", target(here, file))
    here.ok("download", target(here, file), "--to", "back")
    assert attributes(here.work / "back" / file.relative_to(here.work)) == before
    here.records.remove()
    here.ok("db", "rebuild")
    here.ok("verify", "--all")
