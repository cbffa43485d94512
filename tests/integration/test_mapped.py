"""A file that another process writes through a mapping while a command reads it: it stays, and so does its archive."""

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.storage import open_store
from tests.moments import meanwhile, of_file
from tests.program import Done, Program

pytestmark = pytest.mark.sqlite  # what the catalog is makes no difference here

FAILED, REFUSED = 1, 7
SIZE = 3 << 20


class Writer:
    """A process that has a file mapped into its memory, and has written to a page of it."""

    def __init__(self, path: Path) -> None:
        self._orders, orders = os.pipe()
        answers, self._answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(orders)
                os.close(answers)
                self._write(path)
            finally:
                os._exit(1)
        os.close(self._orders)
        os.close(self._answers)
        self._orders, self._answers = orders, answers
        assert os.read(answers, 1) == b"!"

    def _write(self, path: Path) -> None:
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
            before = os.fstat(file.fileno())
            mapping[0] = mapping[0]  # the page is dirty from now on: what is written to it now does not move the times
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            os.write(self._answers, b"!")
            while order := os.read(self._orders, 8):
                mapping[int.from_bytes(order, "little")] ^= 1
                os.write(self._answers, b"!")

    def write(self, at: int) -> None:
        """Change one byte, there."""
        os.write(self._orders, at.to_bytes(8, "little"))
        assert os.read(self._answers, 1) == b"!"

    def end(self) -> None:
        os.close(self._orders)
        os.close(self._answers)
        os.waitpid(self._pid, 0)


def _is_told(folder: Path) -> bool:
    """Whether the file system of `folder` says, after a sync, that a file was written through a mapping."""
    path = folder / "tried"
    path.write_bytes(bytes(4096))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 1
        os.fsync(file.fileno())
        os.utime(path, ns=(0, 0))
        mapping[0] = 2
        told = path.stat().st_mtime_ns != 0
    path.unlink()
    return told


@pytest.fixture
def told(anywhere: Program, tmp_path: Path) -> Iterator[Program]:
    """The command, at home on a file system that has its files on a disk."""
    for folder in (tmp_path, Path(__file__).parent, Path("/var/tmp"), Path.home()):
        if os.access(folder, os.W_OK) and _is_told(folder):
            home = Path(tempfile.mkdtemp(prefix=".mapped-", dir=folder))
            yield replace(anywhere, home=home)
            anywhere.catalogs.forget(home)
            shutil.rmtree(home)
            return
    pytest.skip("NOT TESTED: no file system here says that a file was written through a mapping (all tmpfs?)")


@pytest.fixture(params=["single", "in a folder"])
def file(request: pytest.FixtureRequest, told: Program) -> Path:
    path = told.work / ("clip" if request.param == "single" else "shoot/clip")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    os.utime(path, ns=(10**18, 10**18))
    return path


def target(program: Program, file: Path) -> str:
    return file.relative_to(program.work).parts[0]


def run_while_written(program: Program, file: Path, at: int, *words: str) -> Done:
    """Run a command, and let another process write to the `file` when some of it was read."""
    writer = Writer(file)
    try:
        with meanwhile("os.readv", lambda: writer.write(at), when=of_file(file.name), after=True) as written:
            done = program.run(*words)
    finally:
        writer.end()
    assert written.happened
    return done


def objects(program: Program) -> list[str]:
    store = open_store(program.store)
    return [each.key for each in store.list()] + [each.key for each in store.pending()]


@pytest.mark.parametrize("at", [1, SIZE - 1], ids=["a page written before", "another page"])
def test_what_is_written_while_it_is_archived_is_not_moved(told: Program, file: Path, at: int) -> None:
    done = run_while_written(told, file, at, "upload", target(told, file))
    assert done.returncode == FAILED
    assert "clip changed while it was read" in done.stderr
    assert file.exists()
    assert not (told.work / "completed").exists()
    assert objects(told) == []
    assert [each["status"] for each in told.json("log", "--type", "upload")] == ["failed"]
    told.ok("upload", target(told, file))


def test_what_is_written_while_it_is_compared_with_an_archive_is_not_moved(told: Program, file: Path) -> None:
    told.ok("upload", "--keep", target(told, file))
    done = run_while_written(told, file, 1, "upload", target(told, file))
    assert done.returncode == FAILED
    assert "clip changed while it was read" in done.stderr
    assert file.exists()
    assert not (told.work / "completed").exists()
    told.ok("verify", "--all")


@pytest.mark.parametrize("command", ["free", "delete"])
def test_a_copy_that_is_written_while_it_is_compared_is_refused(told: Program, file: Path, command: str) -> None:
    told.ok("upload", target(told, file))
    copy = told.work / "completed" / file.relative_to(told.work)
    done = run_while_written(told, copy, 1, command, "--yes", target(told, file))
    assert done.returncode == REFUSED, done
    assert copy.exists()
    assert len(objects(told)) == 2
    told.ok("verify", "--all")


@pytest.mark.parametrize("command", ["free", "delete"])
def test_a_copy_that_is_only_mapped_is_proof(told: Program, file: Path, command: str) -> None:
    told.ok("upload", target(told, file))
    writer = Writer(told.work / "completed" / file.relative_to(told.work))
    try:
        told.ok(command, "--yes", target(told, file))
    finally:
        writer.end()
