"""Each limit, just below, at and just above: writer, reader and index accept the same values."""

import errno
import os
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mgmt.archive import (
    Index,
    IndexWriter,
    Member,
    Tree,
    Wanted,
    digest_members,
    extract,
    hash_tree,
    inflate,
    limits,
    read_blocks,
    read_members,
    remove_tree,
    survey,
)
from mgmt.archive.header import Header, Owner, end
from mgmt.archive.index_lines import IndexEnd
from mgmt.errors import IntegrityError, MgmtError, RefusedError
from mgmt.progress import NoProgress
from tests.archive.archives import Written, header, write
from tests.disk import folder_on_disk

TIMES = [
    -limits.TIME_NS - 1,
    -limits.TIME_NS,
    -limits.TIME_NS + 1,
    limits.TIME_NS - 2,
    limits.TIME_NS - 1,
    limits.TIME_NS,
]


def writer_accepts(path: str = "r", **facts: object) -> bool:
    """Whether the writer accepts it."""
    try:
        Header(path, "f", mode=0o644, **({"mtime_ns": 0} | facts)).check()  # type: ignore[arg-type]
    except limits.OverLimitError:
        return False
    return True


def reader_accepts(path: str = "r", **facts: object) -> bool:
    """Whether the reader accepts what would be written."""
    packed = Header(path, "f", **({"mode": 0o644, "mtime_ns": 0} | facts)).pack()  # type: ignore[arg-type]
    try:
        next(read_members([packed + bytes(end(len(packed)))]))
    except IntegrityError:
        return False
    return True


def index_accepts(path: Path, member: Member, tar_size: int = 1 << 20) -> bool:
    """Whether an index holds the member and returns it unchanged."""
    root = Member("root", "d", 0o755, 0, 0, 0, 0, None, None)
    facts = IndexEnd(2, 0, "0" * 64, limits.SIZE - 1, "", tar_size, 0, 0, "")
    try:
        with IndexWriter(os.fspath(path), header()) as writer:
            writer.add_member(root)
            writer.add_member(member)
            writer.finish(facts)
        return list(Index.open(os.fspath(path)).members()) == [root, member]
    except IntegrityError:
        return False
    finally:
        path.unlink()


def a_member(path: str = "r", mtime_ns: int = 0, size: int = 0, link: str | None = None) -> Member:
    if link is not None:
        return Member(path, "l", 0o777, mtime_ns, 0, 0, 0, None, link)
    return Member(path, "f", 0o644, mtime_ns, size, 0, 0, bytes(32), None)


@pytest.mark.parametrize("time", TIMES)
def test_writer_and_reader_agree_on_times(time: int, tmp_path: Path) -> None:
    inside = -(1 << 63) <= time < 1 << 63
    assert writer_accepts(mtime_ns=time) == reader_accepts(mtime_ns=time) == inside
    assert index_accepts(tmp_path / "index", a_member(mtime_ns=time), limits.SIZE - 1) == inside


@pytest.mark.parametrize("seconds", [limits.TIME_NS // 10**9, limits.TIME_NS // 10**9 + 1, 1 << 33, 1 << 62])
def test_writer_and_reader_agree_on_whole_seconds(seconds: int) -> None:
    inside = seconds * 10**9 < 1 << 63
    assert writer_accepts(mtime_ns=seconds * 10**9) == reader_accepts(mtime_ns=seconds * 10**9) == inside


@pytest.mark.parametrize("size", [limits.SIZE - 2, limits.SIZE - 1, limits.SIZE])
def test_writer_and_reader_agree_on_sizes(size: int, tmp_path: Path) -> None:
    inside = size < 1 << 62
    assert writer_accepts(size=size) == reader_accepts(size=size) == inside
    assert index_accepts(tmp_path / "index", a_member(size=1), tar_size=size) == inside


@pytest.mark.parametrize("owner", [None, Owner(3_000_000_000, 3_000_000_000, b"u" * 40, b"g" * 40)])
@pytest.mark.parametrize("path", ["r", "r" * 101, "\u00e9" * 200])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_writer_and_reader_agree_on_extended_records(path: str, owner: Owner | None, over: int) -> None:
    xattrs = {b"user.a%": bytes(60_000), b"user.b": b""}
    room = limits.EXTENDED + over - stated(path, owner, xattrs)
    while room:  # a longer value also has a longer length
        xattrs[b"user.b"] = bytes(len(xattrs[b"user.b"]) + room)
        room = limits.EXTENDED + over - stated(path, owner, xattrs)
    inside = over <= 0
    assert writer_accepts(path, mtime_ns=1, owner=owner, xattrs=xattrs) == inside
    assert reader_accepts(path, mtime_ns=1, owner=owner, xattrs=xattrs) == inside
    if inside:
        assert Header(path, "f", mode=0o644, mtime_ns=1, owner=owner, xattrs=xattrs).check() == limits.EXTENDED + over


def stated(path: str, owner: Owner | None, xattrs: dict[bytes, bytes]) -> int:
    """The size stated in the extended header."""
    return int(Header(path, "f", mode=0, mtime_ns=1, owner=owner, xattrs=xattrs).pack()[124:135], 8)


@pytest.mark.parametrize("character", ["a", "\u00e9", "\udcff", "\U0001f4f7", '"'])
@pytest.mark.parametrize("link", [None, "\udcfe" * 4000])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_writer_reader_and_index_agree_on_names(character: str, link: str | None, over: int, tmp_path: Path) -> None:
    room = limits.NAMES + over - len(quote("r/")) - len(quote(link or ""))
    each = len(quote(character)) - 2
    path = "r/" + character * (room // each) + "a" * (room % each)
    assert len(quote(path)) + len(quote(link or "")) == limits.NAMES + over
    assert writer_accepts(path, link=link or "") == (over <= 0)
    assert index_accepts(tmp_path / "index", a_member(path, mtime_ns=-limits.TIME_NS, link=link)) == (over <= 0)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_writer_and_index_agree_on_lines(over: int, tmp_path: Path) -> None:
    """A reader accepts a line up to the limit, whatever its field."""
    host = "h" * (limits.LINE - 1000)
    path = tmp_path / "index"
    for attempt in range(2):
        with IndexWriter(os.fspath(path), header(host)) as writer:
            first = len(writer._lines[0]) if writer._lines else writer._size
            if attempt == 0:
                host += "h" * (limits.LINE + over - first)
                path.unlink()
                continue
            assert first == limits.LINE + over
            writer.add_member(a_member())
            writer.finish(IndexEnd(1, 0, "0" * 64, 1 << 20, "", 1 << 20, 0, 0, ""))
    if over <= 0:
        assert Index.open(os.fspath(path)).header.key == host
    else:
        with pytest.raises(IntegrityError, match="a line is too long"):
            Index.open(os.fspath(path))


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_writer_and_reader_agree_on_depth(over: int, tmp_path: Path) -> None:
    path = "/".join(["r"] + ["a"] * (limits.DEPTH - 1 + over))
    assert (
        writer_accepts(path) == reader_accepts(path) == index_accepts(tmp_path / "index", a_member(path)) == (over <= 0)
    )


@pytest.fixture(params=["single", "in a folder"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tree, Path]:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "file").write_text("content")
    root = tmp_path / "r" / "file" if request.param == "single" else tmp_path / "r"
    return Tree(os.fspath(root), root.name), tmp_path / "r" / "file"


def test_an_unreadable_time_is_refused_before_writing(target: tuple[Tree, Path], tmp_path: Path) -> None:
    tree, path = target
    os.utime(path, ns=(0, limits.TIME_NS))
    if path.stat().st_mtime_ns != limits.TIME_NS:
        pytest.skip("this file system has no such times")
    with pytest.raises(RefusedError, match=r"/r/file cannot be archived: its modification time") as caught:
        survey(tree)
    assert "--exclude" in str(caught.value.next_step)
    with pytest.raises(RefusedError, match=r"/r/file cannot be archived: its modification time"):
        write(tree, tmp_path / "index")
    hash_tree(tree, NoProgress())  # it can still be compared


@pytest.fixture(params=["on a disk", "in memory"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "on a disk":
        with folder_on_disk(tmp_path) as folder:
            yield folder
    else:
        with TemporaryDirectory(dir="/dev/shm") as name:
            yield Path(name)


@pytest.mark.parametrize("time", [-limits.TIME_NS, -limits.TIME_NS + 1, -1, limits.TIME_NS - 1, limits.TIME_NS - 10**9])
def test_a_time_at_the_limit_is_restored_exactly(time: int, anywhere: Path) -> None:
    (anywhere / "r").mkdir()
    (anywhere / "out").mkdir()
    (anywhere / "r" / "file").write_text("content")
    for path in (anywhere / "r" / "file", anywhere / "r"):
        os.utime(path, ns=(0, time))
    if (anywhere / "r" / "file").stat().st_mtime_ns != time:
        pytest.skip(f"the file system of {anywhere} has no such times")
    tree = Tree(os.fspath(anywhere / "r"), "r")
    survey(tree)
    restore(write(tree, anywhere / "index"), anywhere / "out")
    for path in (anywhere / "out" / "r", anywhere / "out" / "r" / "file"):
        assert path.stat().st_mtime_ns == time


def restore(written: Written, out: Path) -> None:
    members = read_members(read_blocks(written.index, written.fetch, 1))
    extract(members, os.fspath(out), Wanted(digest=written.archived.digest), token="t", progress=NoProgress())


def test_unreadable_attributes_are_refused_before_writing(
    target: tuple[Tree, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on XFS, which stores any number of attributes."""
    tree, _ = target

    def many(descriptor: int) -> dict[bytes, bytes]:
        return {b"user.%d" % number: bytes(60_000) for number in range(20)} if is_file(descriptor) else {}

    for module in ("tree", "source"):
        monkeypatch.setattr(f"mgmt.archive.{module}.read_xattrs", many)
    assert survey(tree).tar_size < 100_000
    with pytest.raises(
        RefusedError, match=r"/r/file cannot be archived: its extended attributes take 12\d{5}"
    ) as caught:
        survey(tree, xattrs=True)
    assert "without --xattrs" in str(caught.value.next_step)
    with pytest.raises(RefusedError, match=r"/r/file cannot be archived: its extended attributes take"):
        write(tree, tmp_path / "index", xattrs=True)

    def fewer(descriptor: int) -> dict[bytes, bytes]:
        return dict(list(many(descriptor).items())[:17])

    for module in ("tree", "source"):
        monkeypatch.setattr(f"mgmt.archive.{module}.read_xattrs", fewer)
    found, written = survey(tree, xattrs=True), write(tree, tmp_path / "2", xattrs=True)
    assert 17 * 60_000 < written.archived.tar_size <= found.tar_size
    assert digest_members(inflate([written.object])).holds(written.archived.kept)


def is_file(descriptor: int) -> bool:
    return not os.path.isdir(f"/dev/fd/{descriptor}")


def test_attributes_that_cannot_be_read_are_reported(
    target: tuple[Tree, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> dict[bytes, bytes]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("mgmt.archive.tree.read_xattrs", fail)
    with pytest.raises(MgmtError, match=r"the extended attributes of .* cannot be read: Input/output error"):
        survey(target[0], xattrs=True)


@pytest.fixture(
    params=[limits.NAMES // 4, pytest.param(limits.NAMES, marks=pytest.mark.torture)], ids=["a quarter", "the limit"]
)
def deep(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nested folders up to the limit or a quarter of it, whose names take six characters per byte in an index."""
    monkeypatch.setattr(limits, "NAMES", request.param)
    here = os.open(tmp_path, os.O_RDONLY)
    name = b"\xff" * 255
    for _ in range(limits.NAMES // (255 * 6 + 1)):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    yield Path(f"/proc/self/fd/{here}")
    os.close(here)
    remove_tree(os.fspath(tmp_path), os.fsdecode(name))


def test_a_path_too_long_for_an_index_is_refused_before_writing(deep: Path, tmp_path: Path) -> None:
    tree = Tree(os.fspath(tmp_path / os.fsdecode(b"\xff" * 255)), "r")
    survey(tree)
    written = write(tree, tmp_path / "index")
    assert sum(1 for _ in written.index.members()) == survey(tree).folders
    (deep / os.fsdecode(b"\xff" * 255)).mkdir()
    (deep / os.fsdecode(b"\xff" * 255) / os.fsdecode(b"\xff" * 255)).mkdir()
    with pytest.raises(RefusedError, match="its path is too long or too deep"):
        survey(tree)
    with pytest.raises(RefusedError, match="its path is too long or too deep"):
        write(tree, tmp_path / "2")


@pytest.mark.parametrize("implied", [False, True])
def test_a_tree_1200_levels_deep_is_restored(implied: bool, tmp_path: Path) -> None:
    """With a member for each folder, or with none."""
    depth = 1200
    paths = ["/".join(["r"] + ["d"] * number) for number in range(depth + 1)]
    tar = b"".join(Header(path, "d", mode=0o555, mtime_ns=5).pack() for path in paths if not implied)
    tar += Header(paths[-1] + "/file", "f", mode=0o644, mtime_ns=5).pack()
    if implied:
        tar = Header("r", "d", mode=0o755, mtime_ns=5).pack() + tar
    found = extract(read_members([tar + bytes(end(len(tar)))]), os.fspath(tmp_path), token="t", progress=NoProgress())
    assert found.members == (2 if implied else depth + 2)
    assert survey(Tree(os.fspath(tmp_path / "r"), "r")).folders == depth + 1
    assert digest_members([tar + bytes(end(len(tar)))]).digest == found.digest
    remove_tree(os.fspath(tmp_path), "r")
