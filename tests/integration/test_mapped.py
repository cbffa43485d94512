"""A file written through a memory mapping while a command reads it: it stays in place, and so does its archive."""

import mmap
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.storage import open_store
from tests.disk import folder_on_disk
from tests.moments import meanwhile, of_file
from tests.program import Done, Program

pytestmark = pytest.mark.sqlite  # these tests do not depend on the catalog

FAILED, REFUSED = 1, 7
SIZE = 3 << 20


class Writer:
    """A process that has mapped a file into memory and written to a page of it."""

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
            mapping[0] = mapping[0]  # the page is dirty from now on: further writes to it do not change the times
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            os.write(self._answers, b"!")
            while order := os.read(self._orders, 8):
                mapping[int.from_bytes(order, "little")] ^= 1
                os.write(self._answers, b"!")

    def write(self, at: int) -> None:
        """Change the byte at this offset."""
        os.write(self._orders, at.to_bytes(8, "little"))
        assert os.read(self._answers, 1) == b"!"

    def end(self) -> None:
        os.close(self._orders)
        os.close(self._answers)
        os.waitpid(self._pid, 0)


@pytest.fixture
def on_disk(anywhere: Program, tmp_path: Path) -> Iterator[Program]:
    """mgmt with its home on a file system that reports writes through a mapping."""
    with folder_on_disk(tmp_path) as home:
        yield replace(anywhere, home=home)
        anywhere.catalogs.forget(home)


@pytest.fixture(params=["single", "in a folder"])
def file(request: pytest.FixtureRequest, on_disk: Program) -> Path:
    path = on_disk.work / ("clip" if request.param == "single" else "shoot/clip")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    os.utime(path, ns=(10**18, 10**18))
    return path


def target(program: Program, file: Path) -> str:
    return file.relative_to(program.work).parts[0]


def run_while_written(program: Program, file: Path, at: int, *words: str) -> Done:
    """Run a command, and write to the `file` in another process after some of it is read."""
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
def test_a_file_written_while_it_is_archived_is_not_moved(on_disk: Program, file: Path, at: int) -> None:
    done = run_while_written(on_disk, file, at, "upload", target(on_disk, file))
    assert done.returncode == FAILED
    assert "clip changed while it was read" in done.stderr
    assert file.exists()
    assert not (on_disk.work / "completed").exists()
    assert objects(on_disk) == []
    assert [each["status"] for each in on_disk.json("log", "--type", "upload")] == ["failed"]
    on_disk.ok("upload", target(on_disk, file))


def test_a_file_written_while_it_is_compared_with_its_archive_is_not_moved(on_disk: Program, file: Path) -> None:
    on_disk.ok("upload", "--keep", target(on_disk, file))
    done = run_while_written(on_disk, file, 1, "upload", target(on_disk, file))
    assert done.returncode == FAILED
    assert "clip changed while it was read" in done.stderr
    assert file.exists()
    assert not (on_disk.work / "completed").exists()
    on_disk.ok("verify", "--all")


@pytest.mark.parametrize("command", ["free", "delete"])
def test_free_and_delete_refuse_a_copy_written_while_it_is_compared(on_disk: Program, file: Path, command: str) -> None:
    on_disk.ok("upload", target(on_disk, file))
    copy = on_disk.work / "completed" / file.relative_to(on_disk.work)
    done = run_while_written(on_disk, copy, 1, command, "--yes", target(on_disk, file))
    assert done.returncode == REFUSED, done
    assert copy.exists()
    assert len(objects(on_disk)) == 2
    on_disk.ok("verify", "--all")


@pytest.mark.parametrize("command", ["free", "delete"])
def test_free_and_delete_accept_a_copy_that_is_mapped_but_not_written(
    on_disk: Program, file: Path, command: str
) -> None:
    on_disk.ok("upload", target(on_disk, file))
    writer = Writer(on_disk.work / "completed" / file.relative_to(on_disk.work))
    try:
        on_disk.ok(command, "--yes", target(on_disk, file))
    finally:
        writer.end()
