"""Any tree is archived and restored exactly; any index can be rebuilt from the archive alone."""

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgmt.archive import (
    Index,
    IndexWriter,
    Limits,
    Member,
    Tree,
    Wanted,
    digest_members,
    extract,
    hash_tree,
    inflate,
    limits,
    read_blocks,
    read_member,
    read_members,
    rebuild_index,
)
from mgmt.archive.blocks import BLOCK, pack, unpack
from mgmt.archive.header import Header, end, pack_file, padding
from mgmt.archive.member import Type, decode, encode
from mgmt.archive.tar_stream import read_members as parse
from mgmt.choices import Level
from mgmt.progress import NoProgress
from tests.archive.archives import chunked, header, raw, write
from tests.trees import describe, walk

settings.register_profile("archive", max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
archive_settings = settings.get_profile("archive")

NAMES = st.one_of(
    st.binary(min_size=1, max_size=255),
    st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")[:255]),
).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b".."))
TIMES = st.one_of(st.integers(-(10**18), 4 * 10**18), st.integers(-(10**9), 10**9).map(lambda second: second * 10**9))
CONTENTS = st.one_of(
    st.binary(max_size=2000),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 300_000)).map(lambda pair: pair[0] * (pair[1] // 9)),
    st.integers(0, 2_500_000).map(lambda size: os.urandom(1) * size),
)
TARGETS = st.binary(min_size=1, max_size=400).filter(lambda target: b"\0" not in target)
MODES = st.integers(0, 0o777)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, bytes, int, bytes, int, int]]:
    """Entries in order: kind, name, number of the parent folder, content or target, mode, time."""
    kinds = st.sampled_from(["file", "file", "file", "folder", "folder", "link", "same"])
    entry = st.tuples(kinds, NAMES, st.integers(0, 1 << 30), CONTENTS | TARGETS, MODES, TIMES)
    return draw(st.lists(entry, max_size=14))


def make(root: Path, entries: list[tuple[str, bytes, int, bytes, int, int]]) -> None:
    root.mkdir()
    folders, files = [root], list[Path]()
    made: list[tuple[Path, int, int]] = []
    for kind, name, number, data, mode, time in entries:
        path = raw(folders[number % len(folders)], name)
        if os.path.lexists(path):
            continue
        if kind == "folder":
            path.mkdir()
            folders.append(path)
        elif kind == "link":
            os.symlink(data.replace(b"\0", b"-")[:400] or b"-", os.fsencode(path))
        elif kind == "same" and files:
            path.hardlink_to(files[number % len(files)])
        else:
            path.write_bytes(data)
            files.append(path)
        made.append((path, mode, time))
    for path, mode, time in reversed(made):
        if not path.is_symlink():
            path.chmod(mode | (0o700 if path.is_dir() else 0o600))
        os.utime(path, ns=(time, time), follow_symlinks=False)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@given(trees())
@archive_settings
def test_any_tree_is_restored_exactly(entries: list[tuple[str, bytes, int, bytes, int, int]]) -> None:
    with temporary_folder() as here:
        make(here / "root", entries)
        tree = Tree(os.fspath(here / "root"), "root")
        written = write(tree, here / "index")
        (here / "out").mkdir()
        members = read_members(read_blocks(written.index, written.fetch, 2))
        extract(
            members,
            os.fspath(here / "out"),
            Wanted("again", digest=written.archived.digest, limits=Limits.of(written.index.end)),
            token="t",
            progress=NoProgress(),
        )
        assert describe(here / "out" / "again") == describe(here / "root")
        again = hash_tree(Tree(os.fspath(here / "out" / "again"), "again"), NoProgress())
        assert again.digest == written.archived.digest
        assert list(walk(here / "out" / "again"))


@given(trees(), st.sampled_from([13, 4096, 1 << 17]))
@archive_settings
def test_an_index_can_be_rebuilt_from_its_archive(
    entries: list[tuple[str, bytes, int, bytes, int, int]], size: int
) -> None:
    with temporary_folder() as here:
        make(here / "root", entries)
        written = write(Tree(os.fspath(here / "root"), "root"), here / "index", level=Level.BALANCED)
        with IndexWriter(os.fspath(here / "again"), header()) as writer:
            end = rebuild_index(
                chunked(written.object, size),
                writer,
                checksum=written.index.end.checksum,
                part_size=written.index.end.part_size,
            )
        again = Index.open(os.fspath(here / "again"))
        assert end == again.end == written.index.end
        assert (again.lengths, again.crcs) == (written.index.lengths, written.index.crcs)
        assert list(again.members()) == list(written.index.members())


@given(trees())
@archive_settings
def test_the_index_agrees_with_pythons_tarfile(
    entries: list[tuple[str, bytes, int, bytes, int, int]],
) -> None:
    with temporary_folder() as here:
        make(here / "root", entries)
        written = write(Tree(os.fspath(here / "root"), "root"), here / "index")
        members = list(written.index.members())
        tar = gzip.decompress(written.object)
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r|", encoding="utf-8") as listing:
            listed = [(each.name, each.size, each.linkname, each.mode) for each in listing]
        assert listed == [(each.path, each.size, each.link or "", each.mode) for each in members]
        assert digest_members(inflate([written.object])).digest == written.archived.digest
        for member in members:
            if member.type == "f":
                content = b"".join(read_member(written.index, member, written.fetch))
                assert content == tar[member.data_offset : member.data_offset + member.size]
                assert content == raw(here, encode(member.path)).read_bytes()


@given(trees())
@archive_settings
def test_the_tar_is_the_headers_and_contents_of_its_members(
    entries: list[tuple[str, bytes, int, bytes, int, int]],
) -> None:
    with temporary_folder() as here:
        make(here / "root", entries)
        written = write(Tree(os.fspath(here / "root"), "root"), here / "index")
        tar = b""
        for member in written.index.members():
            path, kind, mode, mtime_ns, size, *_, link = member
            assert member.header_offset == len(tar)
            tar += Header(path, kind, mode=mode, mtime_ns=mtime_ns, size=size, link=link or "").pack()
            assert member.data_offset == len(tar)
            if member.type == "f":
                tar += raw(here, encode(member.path)).read_bytes() + bytes(padding(member.size))
        assert gzip.decompress(written.object) == tar + bytes(end(len(tar)))


@given(
    path=st.lists(NAMES, min_size=1, max_size=12).map(b"/".join),
    kind=st.sampled_from(["f", "d", "l", "h"]),
    mode=st.integers(0, 0o7777),
    mtime_ns=st.integers(-limits.TIME_NS, limits.TIME_NS - 1),
    size=st.integers(0, 1 << 61),
    link=st.binary(min_size=1, max_size=600).filter(lambda link: b"\0" not in link),
)
@settings(max_examples=300, deadline=None)
def test_a_header_round_trips_every_attribute(
    path: bytes, kind: Type, mode: int, mtime_ns: int, size: int, link: bytes
) -> None:
    if kind != "f":
        size = 0
    if kind == "h":
        link = link.strip(b"/.") or b"x"
    target = link if kind in ("l", "h") else b""
    header = Header(decode(path), kind, mode=mode, mtime_ns=mtime_ns, size=size, link=decode(target))
    packed = header.pack()
    if kind == "f":
        assert pack_file(path, mode, mtime_ns, size) in (packed, None)
    if not target and limits.is_plain(decode(path), mtime_ns, size):
        assert header.check() == 0
    assert len(packed) % 512 == 0
    member, _ = next(parse([packed]))
    assert member == Member(
        path=decode(path),
        type=kind,
        mode=mode,
        mtime_ns=mtime_ns,
        size=size,
        header_offset=0,
        data_offset=len(packed),
        sha256=None,
        link=decode(link) if kind in ("l", "h") else None,
    )


@given(st.lists(st.tuples(CONTENTS, st.booleans()), max_size=6), st.sampled_from(list(Level)))
@archive_settings
def test_any_block_round_trips(pieces: list[tuple[bytes, bool]], level: Level) -> None:
    data = b"".join(os.urandom(len(piece)) if noise else piece for piece, noise in pieces)[:BLOCK] or b"x"
    packed, _ = pack(data, level)
    assert unpack(b"".join(packed), len(data)) == data
