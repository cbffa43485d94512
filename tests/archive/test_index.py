import base64
import functools
import gzip
import hashlib
import io
import json
import os
import struct
import tracemalloc
from pathlib import Path

import pytest

from mgmt.archive import Index, IndexEnd, IndexWriter, Member
from mgmt.archive.blocks import HEADER, trailer
from mgmt.archive.index import _Reading
from mgmt.errors import IntegrityError, NotFoundError
from tests.archive.archives import Written, header

SHORTEST = 1017
"""Minimum bytes of a block of 1 MiB."""

MEMBERS = [
    Member("root", "d", 0o755, 5, 0, 0, 512, None, None),
    Member('root/a\n"\\\u2028', "f", 0o4644, -7, 3, 512, 1024, hashlib.sha256(b"abc").digest(), None),
    Member("root/\udcff", "l", 0o777, 10**18 + 1, 0, 2048, 2560, None, "\udcfe\x00to"),
    Member("root/h", "h", 0o644, 0, 0, 2560, 3072, None, 'root/a\n"\\\u2028'),
]


def finish(writer: IndexWriter, *, members: int, blocks: int) -> None:
    end = IndexEnd(
        digest="d" * 64,
        size=len(HEADER) + blocks * (blocks + 1) // 2 + blocks * SHORTEST + len(trailer(0, 0)),
        checksum="sha256:x",
        tar_size=blocks << 20,
        tar_crc32=77,
        part_size=5 << 20,
        members=members,
        blocks=blocks,
        kept="",
    )
    writer.finish(end)


def write(path: Path, *, blocks: int = 3) -> Path:
    with IndexWriter(os.fspath(path), header()) as writer:
        for number in range(blocks):
            writer.add_block(SHORTEST + number + 1, 0xFFFFFFFF - number)
        for member in MEMBERS:
            writer.add_member(member)
        finish(writer, members=len(MEMBERS), blocks=blocks)
    return path


def test_an_index_round_trips(tmp_path: Path) -> None:
    index = Index.open(os.fspath(write(tmp_path / "index")))
    assert list(index.members()) == MEMBERS
    assert index.header == header()
    assert (list(index.lengths), list(index.crcs)) == (
        [SHORTEST + 1, SHORTEST + 2, SHORTEST + 3],
        [0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD],
    )
    assert (index.end.members, index.end.blocks, index.end.tar_crc32) == (4, 3, 77)
    for member in MEMBERS:
        assert index.find(member.path) == member
    with pytest.raises(NotFoundError, match="no member root/b"):
        index.find("root/b")


def test_the_lines_match_the_specification(tmp_path: Path) -> None:
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


def test_writing_is_deterministic(tmp_path: Path) -> None:
    assert write(tmp_path / "1").read_bytes() == write(tmp_path / "2").read_bytes()


def test_many_blocks_take_several_lines(tmp_path: Path) -> None:
    index = Index.open(os.fspath(write(tmp_path / "index", blocks=20_000)))
    lines = gzip.decompress((tmp_path / "index").read_bytes()).splitlines()
    assert sum(line.startswith(b'{"b":') for line in lines) == 3
    offset = 31
    for block in range(20_000):
        if block % 997 < 2 or block % 1024 < 2:
            assert index.block_offset(block) == offset
        offset += SHORTEST + block + 1
    assert index.block_offset(20_000) == offset


def test_every_truncation_is_detected(tmp_path: Path) -> None:
    data = write(tmp_path / "index").read_bytes()
    for length in [*range(0, len(data), 5), *range(len(data) - 20, len(data))]:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(IntegrityError):
            Index.open(os.fspath(tmp_path / "cut"))


def test_every_flipped_bit_is_detected_or_harmless(tmp_path: Path) -> None:
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
            else:  # gzip has bits without effect: the operating system, the padding after the last block
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
def test_other_files_are_rejected(tmp_path: Path, lines: list[bytes]) -> None:
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


def test_a_wrong_count_is_rejected(tmp_path: Path) -> None:
    with IndexWriter(os.fspath(tmp_path / "index"), header()) as writer:
        writer.add_member(MEMBERS[0])
        finish(writer, members=2, blocks=0)
    with pytest.raises(IntegrityError, match="another number of members or blocks"):
        Index.open(os.fspath(tmp_path / "index"))


def test_an_incomplete_member_line_is_rejected_when_read(tmp_path: Path) -> None:
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


def test_a_member_takes_about_70_bytes(written: Written) -> None:
    members = 5000
    path = written.index_path.with_name("many")
    with IndexWriter(os.fspath(path), header()) as writer:
        for number in range(members):
            sha256 = hashlib.sha256(b"%d" % number).digest()
            name = f"photos/2024-{number // 500:02}/DSC_{number:05}.jpg"
            writer.add_member(Member(name, "f", 0o644, 10**18 + number**3, number * 7, 0, number << 12, sha256, None))
        finish(writer, members=members, blocks=0)
    assert path.stat().st_size < 80 * members


@pytest.mark.parametrize("object_size", [None, -1, 0, 1])
def test_an_index_of_an_object_of_another_size_is_rejected(object_size: int | None, tmp_path: Path) -> None:
    path = os.fspath(write(tmp_path / "index"))
    size = Index.open(path).end.size
    if object_size in (None, 0):
        assert Index.open(path, object_size=None if object_size is None else size).end.size == size
        return
    with pytest.raises(IntegrityError, match=r"(belongs to an archive of|more blocks than fit)"):
        Index.open(path, object_size=size + object_size)


SIZE = 50_000
FIRST = json.dumps(
    {
        "mgmt": "index",
        "v": 1,
        **dict.fromkeys(["key", "operation_id", "source", "host", "user", "created_at", "level", "compressor"], ""),
        "header": 31,
        "block": 1 << 20,
    }
)
A_MEMBER = b'{"p":"r","t":"d","o":0,"d":0,"m":0,"n":0}\n'


@functools.cache
def bomb(name: str, size: int) -> bytes:
    """An index of one line a million times, which claims an object of `size` bytes."""
    line, times, _ = BOMBS[name]
    digest = hashlib.sha256(FIRST.encode() + b"\n")
    data = io.BytesIO()
    with gzip.open(data, "wb") as file:
        file.write(FIRST.encode() + b"\n")
        many = line * 100
        for _ in range(times // 100):
            file.write(many)
            digest.update(many)
        facts = {
            "end": 0,
            "blocks": 0,
            "digest": "0" * 64,
            "size": size,
            "checksum": "",
            "tar_size": size,
            "tar_crc32": 0,
        }
        file.write(json.dumps({**facts, "part_size": 0, "sha256": digest.hexdigest()}).encode() + b"\n")
    return data.getvalue()


BLOCK_LINE = b'{"b":"' + base64.b64encode(struct.pack("<II", SHORTEST, 0) * 8192) + b'"}\n'
BOMBS = {
    "blocks": (BLOCK_LINE, 1000, "more blocks than fit"),
    "blocks of no length": (BLOCK_LINE.replace(b"+QMA", b"AAAA"), 1000, "a block is too short"),
    "more blocks in a line": (BLOCK_LINE.replace(b'"}', b"AAAAAAAAAAA=") + b'"}\n', 1000, "damaged"),
    "members": (A_MEMBER, 300_000, "more members than fit"),
    "short members": (b'{"p":1\n', 1_000_000, "unknown line"),
    "empty lines": (b"\n", 1_000_000, "unknown line"),
    "other lines": (b'{"x":1}\n', 1_000_000, "unknown line"),
    "long names": (b'{"p":"' + b"n" * 900_000 + b'"' + b" " * 40 + b"}\n", 500, "longer than its archive allows"),
    "ends": (b'{"end":1}\n', 1_000_000, "lines after the end"),
}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_rejected_in_bounded_memory(
    name: str, stated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, reason = BOMBS[name]
    path = tmp_path / "bomb"
    path.write_bytes(bomb(name, SIZE))
    assert path.stat().st_size < 1 << 20
    taken: list[int] = []
    take = _Reading.take

    def counted(reading: _Reading, line: bytes) -> None:
        taken.append(len(line))
        take(reading, line)

    monkeypatch.setattr(_Reading, "take", counted)
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match=reason):
            Index.open(os.fspath(path), object_size=SIZE if stated else None)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
    assert len(taken) <= SIZE * 1032 // 512 + 10


def test_as_many_blocks_and_members_as_fit_are_accepted(tmp_path: Path) -> None:
    """An object of zeros with maximum compression, and one of empty members only."""
    for blocks, members in ((300, 1), (1, 2048)):
        path = tmp_path / f"{blocks}"
        size = len(HEADER) + blocks * SHORTEST + len(trailer(0, 0))
        with IndexWriter(os.fspath(path), header()) as writer:
            for _ in range(blocks):
                writer.add_block(SHORTEST, 0)
            for number in range(members):
                writer.add_member(Member("r" if not number else f"r/{number}", "d", 0, 0, 0, 0, 0, None, None))
            facts = IndexEnd(members, blocks, "0" * 64, size, "", blocks << 20, 0, 0)
            writer.finish(facts)
        assert Index.open(os.fspath(path), object_size=size).end == facts
