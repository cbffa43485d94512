"""Files are written in threads: as if one after the other, and with bounded memory."""

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from mgmt.archive import Data, Extracted, Member, Tree, Wanted, extract, read_blocks, read_members
from mgmt.archive.file_threads import FileThreads
from mgmt.archive.restored_file import File
from mgmt.errors import IntegrityError, MgmtError
from mgmt.progress import NoProgress
from tests.archive.archives import Written, write
from tests.integration.odd_disks import refusing
from tests.trees import describe

MIB = 1 << 20
FOLDER = Member("r", "d", 0o755, 1, 0, 0, 0, None, None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """40 folders of files that share blocks, span them, and exceed what is written in a thread."""
    root = tmp_path / "root"
    for number in range(40):
        (root / f"{number:02}").mkdir(parents=True)
        for size in (0, 1, 700, 90_000, 130_000 + number):
            (root / f"{number:02}" / f"{size}").write_bytes(bytes([number]) * size)
    (root / "05" / "large").write_bytes(b"large" * 500_000)
    (root / "30" / "again").hardlink_to(root / "30" / "700")
    (root / "30" / "link").symlink_to("700")
    return write(Tree(os.fspath(root), "root"), tmp_path / "index")


def restore(written: Written, out: Path) -> Extracted:
    members = read_members(read_blocks(written.index, written.fetch, 2))
    wanted = Wanted(digest=written.archived.digest)
    return extract(members, os.fspath(out), wanted, token="t", progress=NoProgress())


def files(count: int, size: int) -> Iterator[tuple[Member, Iterable[Data]]]:
    yield FOLDER, []
    for number in range(count):
        yield Member(f"r/{number:04}", "f", 0o644, 1, size, 0, 0, None, None), [bytes(size)]


def in_a_thread() -> bool:
    return threading.current_thread().name.startswith("mgmt-write")


def assert_nothing_is_left(out: Path, descriptors: int) -> None:
    assert os.listdir(out) == []
    assert len(os.listdir("/dev/fd")) == descriptors
    assert not [each for each in threading.enumerate() if each.name.startswith("mgmt-write")]


def test_small_files_are_written_in_threads_and_large_ones_are_not(
    written: Written, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, bool] = {}
    original = File.write

    def noted(self: File, pieces: Iterable[Data]) -> None:
        threads[self.facts.path] = in_a_thread()
        original(self, pieces)

    monkeypatch.setattr(File, "write", noted)
    restore(written, out)
    assert [path for path, threaded in threads.items() if not threaded] == ["root/05/large"]
    assert len(threads) == 40 * 5 + 1
    assert describe(out / "root") == describe(out.parent / "root")


def test_members_are_passed_on_in_order_whichever_thread_is_first(
    written: Written, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file of all is the last to be written; the digest still is that of the archive."""
    overtaken = threading.Event()
    original = File.write

    def delayed(self: File, pieces: Iterable[Data]) -> None:
        if self.facts.path == "root/00/0":
            assert overtaken.wait(60)
        original(self, pieces)
        if self.facts.path.startswith("root/15/"):
            overtaken.set()

    monkeypatch.setattr(File, "write", delayed)
    assert restore(written, out).digest == written.archived.digest


@pytest.mark.parametrize("call", ["open", "write", "fchmod", "utime", "close"])
@pytest.mark.parametrize("nth", [1, 90])
def test_an_error_in_a_thread_is_the_error_of_the_operation(
    written: Written, out: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    descriptors = len(os.listdir("/dev/fd"))
    calls = 0
    lock = threading.Lock()
    original: Callable[..., object] = getattr(os, call)

    def failing(*arguments: object, **options: object) -> object:
        nonlocal calls
        if in_a_thread():
            with lock:
                calls += 1
                fails = calls == nth
            if fails:
                if call == "close":
                    original(*arguments)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*arguments, **options)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(MgmtError, match="out cannot be written to: Input/output error"):
        restore(written, out)
    monkeypatch.undo()
    assert_nothing_is_left(out, descriptors)


def test_an_error_of_the_last_file_is_not_lost(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", refusing(errno.ENOSPC))
    with pytest.raises(MgmtError, match="out cannot be written to: No space left"):
        extract(files(1, 1), os.fspath(out), token="t", progress=NoProgress())
    assert os.listdir(out) == []


def test_a_second_file_of_a_name_is_named_whichever_is_first(out: Path) -> None:
    members = list(files(200, 20_000))
    with pytest.raises(IntegrityError, match="the archive holds r/0000 more than once"):
        extract([*members, members[1]], os.fspath(out), token="t", progress=NoProgress())
    assert os.listdir(out) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MgmtError("the store is gone")])
def test_nothing_is_written_after_an_interruption(
    out: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The interruption waits for the threads before it removes what they have written."""
    descriptors = len(os.listdir("/dev/fd"))
    steps: list[str] = []
    begun, interrupted = threading.Event(), threading.Event()
    write_file, close, remove = File.write, FileThreads.close, extract.__globals__["remove_partial"]

    def slow(self: File, pieces: Iterable[Data]) -> None:
        begun.set()
        assert interrupted.wait(60)
        write_file(self, pieces)
        steps.append("written")

    def closing(self: FileThreads) -> None:
        interrupted.set()
        close(self)

    def removing(*arguments: str) -> None:
        steps.append("removed")
        remove(*arguments)

    def members() -> Iterator[tuple[Member, Iterable[Data]]]:
        yield from files(2, MIB)
        assert begun.wait(60)
        raise error

    monkeypatch.setattr(File, "write", slow)
    monkeypatch.setattr(FileThreads, "close", closing)
    monkeypatch.setitem(extract.__globals__, "remove_partial", removing)
    with pytest.raises(type(error)):
        extract(members(), os.fspath(out), token="t", progress=NoProgress())
    monkeypatch.undo()
    assert "written" in steps
    assert steps.index("removed") == len(steps) - 1
    assert_nothing_is_left(out, descriptors)


@pytest.mark.parametrize(("size", "most"), [(MIB, 6), (100_000, 60)])
def test_no_more_is_read_than_fits_in_memory(out: Path, monkeypatch: pytest.MonkeyPatch, size: int, most: int) -> None:
    """Nothing is written until the caller waits for it; what was read by then is bounded."""
    count = read = 0
    waited = threading.Event()
    write_file, finish_oldest = File.write, FileThreads._finish_oldest

    def slow(self: File, pieces: Iterable[Data]) -> None:
        assert waited.wait(60)
        write_file(self, pieces)

    def waiting(self: FileThreads) -> None:
        nonlocal read
        if not waited.is_set():
            read = count
            waited.set()
        finish_oldest(self)

    def members() -> Iterator[tuple[Member, Iterable[Data]]]:
        nonlocal count
        for member, content in files(2 * most, size):
            count += 1
            yield member._replace(header_offset=0, data_offset=512), content

    monkeypatch.setattr(File, "write", slow)
    monkeypatch.setattr(FileThreads, "_finish_oldest", waiting)
    extract(members(), os.fspath(out), token="t", progress=NoProgress())
    assert 0 < read <= most


def test_attributes_count_as_memory(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files with a MiB of extended attributes each."""
    finished: list[int] = []
    count = 0
    finish_oldest = FileThreads._finish_oldest

    def noted(self: FileThreads) -> None:
        finished.append(count)
        finish_oldest(self)

    def members() -> Iterator[tuple[Member, Iterable[Data]]]:
        nonlocal count
        for member, content in files(20, 0):
            count += 1
            yield member._replace(header_offset=0, data_offset=MIB), content

    monkeypatch.setattr(FileThreads, "_finish_oldest", noted)
    extract(members(), os.fspath(out), token="t", progress=NoProgress())
    assert finished[0] <= 6


def test_a_folder_swapped_for_a_link_before_its_files_are_written_is_not_followed(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = out.parent / "outside"
    outside.mkdir()
    folder = out / ".mgmt-t.partial" / "d"
    original = File.write

    def swapping(self: File, pieces: Iterable[Data]) -> None:
        if not folder.is_symlink():
            folder.rename(out / "elsewhere")
            folder.symlink_to(outside)
        original(self, pieces)

    monkeypatch.setattr(File, "write", swapping)
    tree = [
        (FOLDER, []),
        (FOLDER._replace(path="r/d"), []),
        (FOLDER._replace(path="r/d/file", type="f", size=1), [b"x"]),
    ]
    with pytest.raises(IntegrityError):
        extract(tree, os.fspath(out), token="t", progress=NoProgress())
    assert os.listdir(outside) == []
    assert os.listdir(out) == ["elsewhere"]


def anything(chance: random.Random) -> list[tuple[Member, Iterable[Data]]]:
    """A few members whose paths and links often meet, and often are impossible."""

    def path() -> str:
        return "/".join(["r", *chance.choices("abc", k=chance.choice([0, 1, 1, 1, 2, 2, 3]))])

    members: list[tuple[Member, Iterable[Data]]] = [(FOLDER, [])]
    for number in range(chance.randint(1, 9)):
        kind, size = chance.choice("fffdlh"), chance.choice([0, 5, 3000])
        link = {"l": chance.choice(["../../outside", "..", "a"]), "h": path()}.get(kind)
        content = [bytes([number]) * size] if kind == "f" else []
        size = size if kind == "f" else 0
        members.append((Member(path(), kind, 0o700, number, size, 0, 512, None, link), content))  # type: ignore[arg-type]
    return members


def outcome(members: list[tuple[Member, Iterable[Data]]], out: Path) -> object:
    """What extraction results in: what it returns or raises, and what is on disk then, and removes it."""
    try:
        found: object = extract(members, os.fspath(out), token="t", progress=NoProgress())
    except IntegrityError as error:
        assert os.listdir(out) == []
        return type(error)
    # Folders without an entry have the time at which they were made.
    on_disk = {path: facts[:2] if facts[0] == "folder" else facts for path, facts in describe(out / "r").items()}
    shutil.rmtree(out / "r") if (out / "r").is_dir() else (out / "r").unlink()
    return found, on_disk


def test_what_is_restored_does_not_depend_on_when_files_are_written(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written one by one before the next member is read, in small batches, or all at the end."""
    outside = out.parent / "outside"
    outside.mkdir()
    restored = 0
    for seed in range(150):
        outcomes = []
        for size, pending in ((0, 0), (2000, 3), (MIB, 3)):
            monkeypatch.setattr("mgmt.archive.file_threads._SIZE", size)
            monkeypatch.setattr("mgmt.archive.file_threads._PENDING", pending)
            outcomes.append(outcome(anything(random.Random(seed)), out))
        assert outcomes[0] == outcomes[1] == outcomes[2], seed
        restored += outcomes[0] is not IntegrityError
    assert 20 < restored < 130
    assert os.listdir(outside) == []
