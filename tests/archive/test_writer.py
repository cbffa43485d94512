import gzip
import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from mgmt.archive import HEADER, IndexWriter, Member, Skipped, Tree, hash_tree, survey, write_archive
from mgmt.archive.tree import Entry
from mgmt.choices import Level
from mgmt.errors import MgmtError, NotFoundError, RefusedError, SourceChangedError
from mgmt.progress import NoProgress
from tests.archive.archives import Written, raw, set_times, write
from tests.trees import random_file, walk

MIB = 1 << 20


def fixed_tree(root: Path) -> Path:
    """A tree whose archive is known byte by byte."""
    (root / "folder" / "empty").mkdir(parents=True)
    (root / "folder" / "file.txt").write_bytes(b"hello\n")
    (root / "folder" / ("n" * 255)).write_bytes(b"a long name")
    (root / "noise").write_bytes(b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(70_000)))
    (root / "two\nlines").write_bytes(b"")
    (root / "ünï").write_bytes(b"utf-8")
    raw(root, b"\xff\xfe").write_bytes(b"bytes")
    (root / "link").symlink_to("folder/file.txt")
    (root / "same").hardlink_to(root / "folder" / "file.txt")
    for path in walk(root):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    (root / "noise").chmod(0o4751)
    set_times(walk(root), 1_600_000_000_000_000_000)
    set_times([root / "noise"], 1_600_000_000_123_456_789)
    set_times([root / "two\nlines"], -1)
    return root


VECTOR_TAR = "f68eb26bf3fac36d2756cf3927fdc13bc5f479364bd5c663d8e40cd8d75f168d"
VECTOR_DIGEST = "992ecd80abf8e4b8b2a457ccb07240f724a302b4d87176152a8d9bb7f97dd0bc"


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write(Tree(os.fspath(fixed_tree(tmp_path / "a")), "root"), tmp_path / "1", threads=1)
    second = write(Tree(os.fspath(fixed_tree(tmp_path / "b" / "c")), "root"), tmp_path / "2", threads=4)
    assert first.object == second.object
    assert first.index_path.read_bytes() == second.index_path.read_bytes()


@pytest.mark.parametrize("level", list(Level))
def test_vectors(tmp_path: Path, level: Level) -> None:
    written = write(Tree(os.fspath(fixed_tree(tmp_path / "root")), "root"), tmp_path / "index", level=level)
    assert hashlib.sha256(gzip.decompress(written.object)).hexdigest() == VECTOR_TAR
    assert written.archived.digest == VECTOR_DIGEST


def test_the_object_matches_the_specification(written: Written) -> None:
    tar = gzip.decompress(written.object)
    assert written.object.startswith(HEADER)
    assert written.object[-8:-4] == written.archived.tar_crc32.to_bytes(4, "little")
    assert written.archived.size == len(written.object)
    assert written.archived.tar_size == len(tar)
    assert len(tar) % 10240 == 0
    assert tar.endswith(bytes(1024))
    assert written.archived.blocks == -(-len(tar) // MIB) == len(written.index.lengths)
    assert written.archived.tar_crc32 == written.index.end.tar_crc32
    assert len(HEADER) + sum(written.index.lengths) + 10 == len(written.object)


def test_the_digest_matches_the_specification(written: Written) -> None:
    lines = b""
    for member in written.index.members():
        path = os.fsencode(member.path)
        relative = b"." if path == b"photos" else path[len(b"photos/") :]
        last = {
            "f": (member.sha256 or b"").hex().encode(),
            "l": os.fsencode(member.link or ""),
            "h": os.fsencode(member.link or "")[len(b"photos/") :],
            "d": b"",
        }[member.type]
        facts = [
            member.type.encode(),
            relative,
            b"%o" % member.mode,
            b"%d" % member.mtime_ns,
            b"%d" % member.size,
            last,
        ]
        lines += b"\0".join(facts) + b"\n"
    assert hashlib.sha256(lines).hexdigest() == written.archived.digest


def test_members_match_the_files_on_disk(tree: Tree, written: Written) -> None:
    tar = gzip.decompress(written.object)
    members = list(written.index.members())
    assert {member.type for member in members} == {"f", "d", "l", "h"}
    for member in members:
        path = tree.disk_path(member.path)
        status = os.lstat(path)
        assert member.mtime_ns == status.st_mtime_ns
        if member.type == "f":
            data = Path(path).read_bytes()
            assert tar[member.data_offset : member.data_offset + member.size] == data
            assert member.sha256 == hashlib.sha256(data).digest()
        if member.type == "l":
            assert member.link == os.readlink(path)
        if member.type != "l":
            assert member.mode == status.st_mode & 0o7777


def test_a_renamed_copy_has_the_same_digest(tree: Tree, written: Written, tmp_path: Path) -> None:
    shutil.copytree(tree.root, tmp_path / "copy", symlinks=True)
    os.unlink(tmp_path / "copy" / "odd" / "second name")
    os.link(tmp_path / "copy" / "odd" / "first name", tmp_path / "copy" / "odd" / "second name")
    shutil.copystat(Path(tree.root, "odd"), tmp_path / "copy" / "odd")
    assert hash_tree(Tree(os.fspath(tmp_path / "copy"), "other"), NoProgress()).digest == written.archived.digest
    os.utime(tmp_path / "copy" / "odd" / "empty file", ns=(1, 1))
    assert hash_tree(Tree(os.fspath(tmp_path / "copy"), "other"), NoProgress()).digest != written.archived.digest


def test_hash_tree_agrees_with_write_archive(tree: Tree, written: Written) -> None:
    hashed = vars(hash_tree(tree, NoProgress()))
    assert hashed.items() <= vars(written.archived).items()
    found = survey(tree)
    assert (found.source_state, found.root_ctime_ns) == (hashed["source_state"], hashed["root_ctime_ns"])
    assert (found.files, found.folders, found.links, found.size) == tuple(
        hashed[name] for name in ("files", "folders", "links", "original_size")
    )
    assert written.archived.tar_size <= found.tar_size


def test_a_single_file_is_archived(tmp_path: Path) -> None:
    file = random_file(tmp_path / "clip.mov", 3 * MIB + 1)
    written = write(Tree(os.fspath(file), "clip.mov"), tmp_path / "index")
    sha256 = hashlib.sha256(file.read_bytes())
    assert written.archived.file_sha256 == sha256.hexdigest()
    [member] = written.index.members()
    assert member == Member(
        path="clip.mov",
        type="f",
        mode=0o644,
        mtime_ns=file.stat().st_mtime_ns,
        size=3 * MIB + 1,
        header_offset=0,
        data_offset=member.data_offset,
        sha256=sha256.digest(),
        link=None,
    )


def test_levels_differ_only_in_size(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"".join(b"line %d\n" % (i * i) for i in range(300_000)))
    tree = Tree(os.fspath(tmp_path / "text"), "text")
    fast, balanced = write(tree, tmp_path / "1"), write(tree, tmp_path / "2", level=Level.BALANCED)
    assert len(balanced.object) < len(fast.object)
    assert gzip.decompress(fast.object) == gzip.decompress(balanced.object)
    assert fast.archived.digest == balanced.archived.digest


def test_owners_and_attributes_are_kept_on_request(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("x")
    for path in (root, root / "file"):
        try:
            os.setxattr(path, "user.mgmt", b"kept \xff\n")
        except OSError as error:
            pytest.skip(f"this filesystem has no user attributes: {error}")
    tree = Tree(os.fspath(root), "root")
    plain = gzip.decompress(write(tree, tmp_path / "1").object)
    full = gzip.decompress(write(tree, tmp_path / "2", owners=True, xattrs=True).object)
    assert b"SCHILY" not in plain
    assert full.count(b"SCHILY.xattr.user.mgmt=kept \xff\n") == 2
    with tarfile.open(fileobj=io.BytesIO(full)) as tar:
        assert {member.uid for member in tar} == {os.geteuid()}
        assert {member.uname for member in tar} != {""}
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert {(member.uid, member.uname) for member in tar} == {(0, "")}


def test_an_unreadable_file_is_skipped_and_listed(as_user: Path) -> None:
    root = as_user / "r"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_text(name)
    (root / "b").chmod(0)
    (root / "other name of b").hardlink_to(root / "b")
    written = write(Tree(os.fspath(root), "r"), as_user / "index")
    assert [member.path for member in written.index.members()] == ["r", "r/a", "r/c"]
    assert written.archived.skipped == (
        (f"{root}/b", "unreadable: Permission denied"),
        (f"{root}/other name of b", "unreadable: Permission denied"),
    )
    assert written.archived.source_state == survey(Tree(os.fspath(root), "r")).source_state
    with pytest.raises(MgmtError, match="r/b cannot be archived: unreadable"):
        write(Tree(f"{root}/b", "b"), as_user / "index 2")


def test_a_missing_root_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        write(Tree(os.fspath(tmp_path / "missing"), "missing"), tmp_path / "index")


class At(NoProgress):
    """Calls `act` once `size` bytes were read."""

    def __init__(self, count: int, action: Callable[[], object]) -> None:
        self._left = count
        self._action: Callable[[], object] | None = action

    def advance(self, count: int) -> None:
        self._left -= count
        if self._left <= 0 and self._action is not None:
            action, self._action = self._action, None
            action()


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"overwritten")


def overwrite_unread(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-11, os.SEEK_END)
        file.write(b"overwritten")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def shrink(path: Path) -> None:
    os.truncate(path, 2 * MIB)


def replace_by_a_copy(path: Path) -> None:
    shutil.copy2(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").rename(path)


def overwrite_and_hide_it(path: Path) -> None:
    times = path.stat()
    overwrite(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES = [overwrite, overwrite_unread, grow, shrink, overwrite_and_hide_it]


@pytest.mark.parametrize("hashing", [False, True], ids=["archiving", "hashing"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_read_is_named(
    tmp_path: Path, index_writer: IndexWriter, change: Callable[[Path], None], *, hashing: bool
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a").write_text("before it")
    file = random_file(tmp_path / "r" / "clip", 6 * MIB)
    tree, progress = Tree(os.fspath(tmp_path / "r"), "r"), At(2 * MIB, lambda: change(file))
    threads = threading.active_count()

    def read() -> object:
        if hashing:
            return hash_tree(tree, progress)
        return write_archive(tree, lambda piece: None, index=index_writer, progress=progress)

    with pytest.raises(SourceChangedError, match="r/clip changed while it was read"):
        read()
    assert threading.active_count() == threads


@pytest.mark.parametrize("hashing", [False, True], ids=["archiving", "hashing"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("change", [*CHANGES, replace_by_a_copy])
def test_a_small_file_that_changes_while_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], *, late: bool, hashing: bool
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a").write_text("before it")
    file = random_file(tmp_path / "r" / "clip", 5000)
    inode, changed, readv = file.stat().st_ino, list[Path](), os.readv

    def and_change(descriptor: int, buffers: list[memoryview]) -> int:
        count = readv(descriptor, buffers) if late else 0
        if not changed and os.fstat(descriptor).st_ino == inode:
            changed.append(file)
            change(file)
        return count if late else readv(descriptor, buffers)

    monkeypatch.setattr(os, "readv", and_change)
    tree = Tree(os.fspath(tmp_path / "r"), "r")
    with pytest.raises(SourceChangedError, match="r/clip changed while it was read"):
        hash_tree(tree, NoProgress()) if hashing else write(tree, tmp_path / "index")
    assert changed


def test_short_reads_give_the_same_archive(tree: Tree, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems return fewer bytes than requested before the end."""
    readv = os.readv
    monkeypatch.setattr(os, "readv", lambda descriptor, buffers: readv(descriptor, [buffers[0][:1000]]))
    again = write(tree, written.index_path.with_name("again"))
    assert again.object == written.object
    assert again.index_path.read_bytes() == written.index_path.read_bytes()
    assert hash_tree(tree, NoProgress()).digest == written.archived.digest


@pytest.mark.parametrize("over", [-1537, -1536, -1535, -1025, -1024, -1023, -513, -512, -511, -1, 0, 1, 511, 512, 513])
def test_a_file_ends_anywhere_in_a_block(tmp_path: Path, over: int) -> None:
    """The second file, its header or its padding ends at or near the end of the first block."""
    root = tmp_path / "r"
    root.mkdir()
    contents = {"a": os.urandom(500_000), "b": os.urandom(MIB - 3 * 1536 - 500_224 + over), "c": b"after it"}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    set_times(walk(root), 1_600_000_000_000_000_001)
    written = write(Tree(os.fspath(root), "r"), tmp_path / "index")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(written.object))) as tar:
        for name, content in contents.items():
            file = tar.extractfile(f"r/{name}")
            assert file is not None
            assert file.read() == content
    for member in written.index.members():
        if member.type == "f":
            assert member.sha256 == hashlib.sha256(contents[member.path[2:]]).digest()


def test_a_file_removed_while_read_is_named(tmp_path: Path, index_writer: IndexWriter) -> None:
    file = random_file(tmp_path / "clip", 6 * MIB)
    progress = At(2 * MIB, lambda: replace_by_a_copy(file))
    with pytest.raises(SourceChangedError):
        write_archive(Tree(os.fspath(file), "clip"), lambda piece: None, index=index_writer, progress=progress)


def test_a_file_replaced_later_is_detected_by_look_again(tmp_path: Path) -> None:
    file = random_file(tmp_path / "clip", 6 * MIB)
    tree = Tree(os.fspath(file), "clip")
    hashed = hash_tree(tree, NoProgress())
    assert survey(tree).source_state == hashed.source_state
    replace_by_a_copy(file)
    assert survey(tree).source_state != hashed.source_state


def put_a_link(path: Path) -> None:
    path.symlink_to("a")


def put_a_file(path: Path) -> None:
    path.write_text("b")


REPLACEMENTS = [lambda path: None, put_a_link, put_a_file, os.mkdir, os.mkfifo]


@pytest.mark.parametrize("put", REPLACEMENTS, ids=["nothing", "link", "file", "folder", "FIFO"])
def test_a_replaced_entry_is_detected_at_once_or_by_look_again(tmp_path: Path, put: Callable[[Path], None]) -> None:
    root = tmp_path / "r"
    root.mkdir()
    random_file(root / "a", 3 * MIB)
    (root / "b").write_text("b")

    def act() -> None:
        (root / "b").unlink()
        put(root / "b")

    tree = Tree(os.fspath(root), "r")
    try:
        found = hash_tree(tree, At(2 * MIB, act)).source_state
    except SourceChangedError:
        found = "changed"
    assert found != survey(tree).source_state


@pytest.mark.parametrize("put", REPLACEMENTS, ids=["nothing", "link", "file", "folder", "FIFO"])
def test_an_entry_replaced_before_opening_is_a_change(tmp_path: Path, put: Callable[[Path], None]) -> None:
    (tmp_path / "b").write_text("b")
    tree = Tree(os.fspath(tmp_path / "b"), "b")
    [entry] = tree.walk(lambda skipped: None)

    class Stale(Tree):
        def walk(self, on_skip: Callable[[Skipped], None]) -> Generator[Entry]:
            yield entry

    (tmp_path / "b").rename(tmp_path / "kept")  # otherwise its inode could be reused
    put(tmp_path / "b")
    with pytest.raises(SourceChangedError, match="b changed while it was read"):
        hash_tree(Stale(tree.root, tree.name), NoProgress())


def test_a_write_within_the_same_clock_tick_is_detected(tmp_path: Path) -> None:
    # Timestamps advance in ticks; a file that was just written must be compared after its tick.
    file = random_file(tmp_path / "clip", 2 * MIB)
    for _ in range(20):
        overwrite(file)
        with pytest.raises(SourceChangedError):
            hash_tree(Tree(os.fspath(file), "clip"), At(MIB, lambda: overwrite(file)))


def test_a_failing_sink_stops_the_threads(tmp_path: Path, index_writer: IndexWriter) -> None:
    file = random_file(tmp_path / "clip", 20 * MIB)
    threads = threading.active_count()
    pieces: list[bytes] = []

    def full(piece: bytes) -> None:
        pieces.append(piece)
        if len(pieces) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_archive(Tree(os.fspath(file), "clip"), full, index=index_writer, progress=NoProgress())
    assert threading.active_count() == threads
    assert len(pieces) == 3


def test_progress_adds_up_to_the_tar_size(tree: Tree, index_writer: IndexWriter) -> None:
    counts: list[int] = []

    class Counting(NoProgress):
        def advance(self, count: int) -> None:
            counts.append(count)

    archived = write_archive(tree, lambda piece: None, index=index_writer, progress=Counting())
    assert sum(counts) == archived.tar_size
    counts.clear()
    hash_tree(tree, Counting())
    assert sum(counts) == archived.original_size


@pytest.mark.parametrize("path", ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_a_file_without_its_size_is_refused(tmp_path: Path, path: str) -> None:
    """The kernel makes its content when it is read, and reports 0 bytes, or those of a page."""
    if not os.path.exists(path):
        pytest.skip(f"no {path} here")
    tree = Tree(path, "file")
    for read in (lambda: write(tree, tmp_path / "index"), lambda: hash_tree(tree, NoProgress())):
        (tmp_path / "index").unlink(missing_ok=True)
        with pytest.raises(RefusedError, match="does not hold the"):
            read()


def test_a_file_that_grows_at_its_end_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * MIB))

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(SourceChangedError):
        hash_tree(Tree(os.fspath(path), "file"), At(2 * MIB, grow))
