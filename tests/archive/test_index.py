import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest

from mgmt.archive import Index, IndexWriter, Member
from mgmt.archive.blocks import HEADER, trailer
from mgmt.errors import IntegrityError, NotFoundError
from tests.archive.archives import Written, header

MEMBERS = [
    Member("root", "d", 0o755, 5, 0, 0, 512, None, None),
    Member('root/a\n"\\\u2028', "f", 0o4644, -7, 3, 512, 1024, hashlib.sha256(b"abc").digest(), None),
    Member("root/\udcff", "l", 0o777, 10**18 + 1, 0, 2048, 2560, None, "\udcfe\x00to"),
    Member("root/h", "h", 0o644, 0, 0, 2560, 3072, None, 'root/a\n"\\\u2028'),
]


def finish(writer: IndexWriter, *, members: int, blocks: int) -> None:
    writer.finish(
        digest="d" * 64,
        size=len(HEADER) + blocks * (blocks + 1) // 2 + len(trailer(0, 0)),
        checksum="sha256:x",
        tar_size=blocks << 20,
        tar_crc32=77,
        part_size=5 << 20,
        members=members,
        blocks=blocks,
    )


def write(path: Path, *, blocks: int = 3) -> Path:
    with IndexWriter(os.fspath(path), header()) as writer:
        for number in range(blocks):
            writer.add_block(number + 1, 0xFFFFFFFF - number)
        for member in MEMBERS:
            writer.add_member(member)
        finish(writer, members=len(MEMBERS), blocks=blocks)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    index = Index.open(os.fspath(write(tmp_path / "index")))
    assert list(index.members()) == MEMBERS
    assert index.header == header()
    assert (list(index.lengths), list(index.crcs)) == ([1, 2, 3], [0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD])
    assert (index.end.members, index.end.blocks, index.end.tar_crc32) == (4, 3, 77)
    for member in MEMBERS:
        assert index.find(member.path) == member
    with pytest.raises(NotFoundError, match="no member root/b"):
        index.find("root/b")


def test_the_lines_are_as_the_format_says(tmp_path: Path) -> None:
    data = write(tmp_path / "index").read_bytes()
    assert data[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    lines = gzip.decompress(data).splitlines(keepends=True)
    first, *others, last = [json.loads(line) for line in lines]
    assert first["mgmt"] == "index"
    assert first["v"] == 1
    assert (first["header"], first["block"]) == (31, 1 << 20)
    assert last["sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    assert [other.get("p") for other in others if "p" in other] == [member.path for member in MEMBERS]
    assert others[1] == {
        "p": MEMBERS[1].path,
        "t": "f",
        "o": 512,
        "d": 1024,
        "s": 3,
        "h": hashlib.sha256(b"abc").hexdigest(),
        "m": 0o4644,
        "n": -7,
    }
    assert all(line.isascii() for line in lines)


def test_the_same_calls_write_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "1").read_bytes() == write(tmp_path / "2").read_bytes()


def test_many_blocks_take_several_lines_and_know_their_places(tmp_path: Path) -> None:
    index = Index.open(os.fspath(write(tmp_path / "index", blocks=20_000)))
    lines = gzip.decompress((tmp_path / "index").read_bytes()).splitlines()
    assert sum(line.startswith(b'{"b":') for line in lines) == 3
    offset = 31
    for block in range(20_000):
        if block % 997 < 2 or block % 1024 < 2:
            assert index.block_offset(block) == offset
        offset += block + 1
    assert index.block_offset(20_000) == offset


def test_every_truncation_is_found(tmp_path: Path) -> None:
    data = write(tmp_path / "index").read_bytes()
    for length in [*range(0, len(data), 5), *range(len(data) - 20, len(data))]:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(IntegrityError):
            Index.open(os.fspath(tmp_path / "cut"))


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "index")
    data, good = bytearray(path.read_bytes()), Index.open(os.fspath(path))
    found = 0
    for position in range(0, len(data), 3):
        for bit in (0, 3, 7):
            data[position] ^= 1 << bit
            (tmp_path / "flipped").write_bytes(data)
            data[position] ^= 1 << bit
            try:
                index = Index.open(os.fspath(tmp_path / "flipped"))
            except IntegrityError:
                found += 1
            else:  # gzip says things that do not matter: the system it was made on, the bits after the last one
                assert (list(index.members()), index.end, index.crcs) == (MEMBERS, good.end, good.crcs)
    assert found > 3 * 0.95 * len(data) // 3


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"not json"],
        [b'{"mgmt":"index","v":2}'],
        [b'{"mgmt":"other","v":1}'],
        [b'{"mgmt":"index","v":1}'],
        [b"[1]"],
        [b'{"p":"no header"}'],
        [b'{"b":"AAAA"}'],
        [b'{"b":7}'],
        [b'{"p":' + b'"x' * 3_000_000],
    ],
)
def test_what_is_no_index_is_refused(tmp_path: Path, lines: list[bytes]) -> None:
    body = b"".join(line + b"\n" for line in lines)
    end = {
        "end": 0,
        "blocks": 0,
        "digest": "",
        "size": 0,
        "checksum": "",
        "tar_size": 0,
        "tar_crc32": 0,
        "part_size": 0,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    (tmp_path / "index").write_bytes(gzip.compress(body + json.dumps(end).encode() + b"\n"))
    with pytest.raises(IntegrityError):
        Index.open(os.fspath(tmp_path / "index"))


def test_a_count_that_is_not_true_is_refused(tmp_path: Path) -> None:
    with IndexWriter(os.fspath(tmp_path / "index"), header()) as writer:
        writer.add_member(MEMBERS[0])
        finish(writer, members=2, blocks=0)
    with pytest.raises(IntegrityError, match="does not list as much as it says"):
        Index.open(os.fspath(tmp_path / "index"))


def test_a_member_line_that_lacks_something_is_refused_when_it_is_read(tmp_path: Path) -> None:
    lines = gzip.decompress(write(tmp_path / "index").read_bytes()).splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"o":0,', b"")
    last = json.loads(lines.pop())
    last["sha256"] = hashlib.sha256(b"".join(lines)).hexdigest()
    (tmp_path / "hostile").write_bytes(gzip.compress(b"".join(lines) + json.dumps(last).encode() + b"\n"))
    index = Index.open(os.fspath(tmp_path / "hostile"))
    with pytest.raises(IntegrityError, match="damaged"):
        list(index.members())


def test_an_index_never_replaces_a_file(tmp_path: Path) -> None:
    write(tmp_path / "index")
    with pytest.raises(FileExistsError):
        IndexWriter(os.fspath(tmp_path / "index"), header())


def test_members_are_about_70_bytes(written: Written) -> None:
    members = 5000
    path = written.index_path.with_name("many")
    with IndexWriter(os.fspath(path), header()) as writer:
        for number in range(members):
            sha256 = hashlib.sha256(b"%d" % number).digest()
            name = f"photos/2024-{number // 500:02}/DSC_{number:05}.jpg"
            writer.add_member(Member(name, "f", 0o644, 10**18 + number**3, number * 7, 0, number << 12, sha256, None))
        finish(writer, members=members, blocks=0)
    assert path.stat().st_size < 80 * members
