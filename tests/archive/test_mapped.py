"""A file that is written through a mapping while it is read: only its times show it."""

import ctypes
import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt.archive import Tree, hash_tree
from mgmt.archive import flush as flushing
from mgmt.errors import MgmtError, SourceChangedError
from mgmt.progress import NoProgress
from tests.archive.archives import write
from tests.disk import folder_on_disk
from tests.waiting import until

SIZE = 3 << 20
COARSE = 5
"""CLOCK_REALTIME_COARSE of Linux, from which files get their times."""


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    with folder_on_disk(tmp_path) as folder:
        yield folder


def wait_for_the_clock() -> None:
    """Wait until a time that a file gets now differs from one that it got before."""
    begin = time.clock_gettime(COARSE)
    ticks = 5 * time.clock_getres(COARSE)
    until(lambda: time.clock_gettime(COARSE) - begin > ticks, "the clock")


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[mmap.mmap]:
    """A file with a dirty, writable page that has not been written for longer than a clock tick."""
    (tmp_path / "r").mkdir()
    path = tmp_path / "r" / "file"
    path.write_bytes(bytes(SIZE))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 1
        os.fsync(file.fileno())
        wait_for_the_clock()
        before = path.stat().st_mtime_ns
        mapping[0] = 2
        assert path.stat().st_mtime_ns != before
        wait_for_the_clock()
        yield mapping


@pytest.fixture(params=["sync_file_range", "fsync"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "fsync":
        monkeypatch.setattr(flushing, "_range", None)
    elif flushing._range is None:
        pytest.skip("NOT TESTED: this system has no sync_file_range")


def read_by_hashing(tree: Tree) -> object:
    return hash_tree(tree, NoProgress())


def read_by_archiving(tree: Tree) -> object:
    return write(tree, Path(f"{tree.root} index"))


@pytest.mark.usefixtures("means")
@pytest.mark.parametrize("at", [0, 1, SIZE - 1])
@pytest.mark.parametrize("read", [read_by_hashing, read_by_archiving])
@pytest.mark.parametrize("single", [True, False])
def test_a_write_through_a_mapping_is_detected(
    mapped: mmap.mmap,
    tmp_path: Path,
    read: Callable[[Tree], object],
    at: int,
    single: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Write to the page that was dirty at first, and to others."""
    readv = os.readv
    stored: list[int] = []

    def and_store(descriptor: int, buffers: list[memoryview]) -> int:
        if not stored:
            mapped[at] = 77
            stored.append(at)
        return readv(descriptor, buffers)

    monkeypatch.setattr(os, "readv", and_store)
    root = tmp_path / "r" / "file" if single else tmp_path / "r"
    with pytest.raises(SourceChangedError, match="file changed while it was read"):
        read(Tree(os.fspath(root), "r"))
    assert stored == [at]


def test_a_mapped_but_unchanged_file_is_archived(mapped: mmap.mmap, tmp_path: Path) -> None:
    tree = Tree(os.fspath(tmp_path / "r"), "r")
    assert hash_tree(tree, NoProgress()).digest == write(tree, tmp_path / "index").archived.digest
    assert mapped[0] == 2


def test_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("content")
    tree = Tree(os.fspath(tmp_path / "file"), "r")

    def fail(*_: int) -> int:
        ctypes.set_errno(5)
        return -1

    if flushing._range is not None:
        with monkeypatch.context() as patched:
            patched.setattr(flushing, "_range", fail)
            patched.setattr(flushing, "_type", lambda _: 0xEF53)
            with pytest.raises(MgmtError, match="file cannot be read: Input/output error"):
                hash_tree(tree, NoProgress())

    def failing(number: int) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(flushing, "_range", None)
    monkeypatch.setattr(os, "fsync", failing(5))
    with pytest.raises(MgmtError, match="file cannot be read: Input/output error"):
        hash_tree(tree, NoProgress())
    monkeypatch.setattr(os, "fsync", failing(22))  # a file system without fsync
    assert hash_tree(tree, NoProgress()).files == 1
