import gzip
import io
import os
import random
import tarfile
import zlib
from pathlib import Path

import pytest

from mgmt.archive import BLOCK, HEADER, Index, IndexWriter, Tree, read_blocks, rebuild_index
from mgmt.archive.blocks import crc32_combine, pack, trailer
from mgmt.choices import Level
from mgmt.errors import IntegrityError, NotFoundError
from tests.archive.archives import Written, chunked, header, write
from tests.archive.tools import gnu_tar
from tests.trees import random_file

MIB = 1 << 20


def rebuild(data: bytes, path: Path, *, size: int = 100_003) -> Index:
    with IndexWriter(os.fspath(path), header()) as writer:
        end = rebuild_index(chunked(data, size), writer, checksum="crc64nvme:AAAAAAAAAAA=", part_size=8 << 20)
    index = Index.open(os.fspath(path))
    assert index.end == end
    return index


def assert_same(one: Index, other: Index) -> None:
    assert (one.lengths, one.crcs, one.end) == (other.lengths, other.crcs, other.end)
    assert list(one.members()) == list(other.members())


@pytest.mark.parametrize("size", [997, 65536, 1 << 20, 1 << 30])
def test_a_rebuilt_index_equals_the_original(written: Written, tmp_path: Path, size: int) -> None:
    assert_same(rebuild(written.object, tmp_path / "again", size=size), written.index)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("kind", ["noise", "text", "zeros", "sync"])
def test_every_kind_of_block_is_found(tmp_path: Path, kind: str, level: Level) -> None:
    file = tmp_path / "file"
    if kind == "noise":
        random_file(file, 3 * MIB + 7)
    elif kind == "text":
        file.write_bytes(b"".join(b"line %d\n" % (number * number) for number in range(300_000)))
    else:  # zeros, or bytes that look like the end of a block
        file.write_bytes((bytes(4) if kind == "zeros" else b"\0\0\xff\xff") * (MIB * 3 // 4))
    written = write(Tree(os.fspath(file), "file"), tmp_path / "index", level=level)
    assert_same(rebuild(written.object, tmp_path / "again"), written.index)


def archive_of(tar: bytes) -> tuple[bytes, list[int]]:
    """The object of a hand-made tar, and the lengths of its blocks."""
    pieces, lengths, crc = [HEADER], [], 0
    for start in range(0, len(tar), BLOCK):
        packed, block_crc = pack(tar[start : start + BLOCK], Level.FAST)
        pieces += packed
        lengths.append(sum(map(len, packed)))
        crc = crc32_combine(crc, block_crc, len(tar[start : start + BLOCK]))
    return b"".join([*pieces, trailer(crc, len(tar))]), lengths


def tar_of(content: bytes) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


@pytest.mark.parametrize(
    "ending", [b"\0\0\xff\xff", b"\0\0\0\xff\xff", b"\0\0\xff\xff\0\0\xff\xff", b"\xff", b"\0\0\xff"]
)
@pytest.mark.parametrize("beginning", [b"", b"\xff\xff", b"\0\0\xff\xff", b"\0\xff\xff"])
def test_data_that_looks_like_a_block_end_is_not_one(tmp_path: Path, ending: bytes, beginning: bytes) -> None:
    noise = random.Random(1).randbytes(2 * BLOCK)
    content = noise[: BLOCK - 512 - len(ending)] + ending + beginning + noise[BLOCK:]
    data, lengths = archive_of(tar_of(content))
    index = rebuild(data, tmp_path / "index", size=1000)
    assert list(index.lengths) == lengths


def test_a_tar_that_fills_its_blocks_exactly(tmp_path: Path) -> None:
    tar = tar_of(random.Random(2).randbytes(5 * BLOCK - 512 - 1024))
    tar = tar[: 5 * BLOCK]
    data, lengths = archive_of(tar)
    assert len(lengths) == 5
    assert list(rebuild(data, tmp_path / "index").lengths) == lengths


def test_a_foreign_archive_gets_members_and_no_blocks(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    random_file(tmp_path / "root" / "a", 3 * MIB)
    (tmp_path / "root" / "b").write_text("b")
    data = gnu_tar(tmp_path, "czf", "-", "--sort=name", "root")
    index = rebuild(data, tmp_path / "index")
    assert [member.path for member in index.members()] == ["root", "root/a", "root/b"]
    assert (index.end.blocks, index.blocks, index.end.size, index.end.tar_size) == (
        0,
        0,
        len(data),
        len(gzip.decompress(data)),
    )
    assert index.end.tar_crc32 == zlib.crc32(gzip.decompress(data))
    with pytest.raises(NotFoundError, match="no blocks"):
        next(read_blocks(index, lambda start, end: data[start:end], 1))


def test_a_foreign_archive_of_several_gzip_members(written: Written, tmp_path: Path) -> None:
    tar = gzip.decompress(written.object)
    data = b"".join(gzip.compress(piece) for piece in chunked(tar, 1_000_000))
    index = rebuild(data, tmp_path / "index again")
    assert list(index.members()) == list(written.index.members())
    assert index.end.digest == written.index.end.digest


def test_damage_and_truncation_are_detected(written: Written, tmp_path: Path) -> None:
    good = written.object
    flipped = bytearray(good)
    flipped[-6] ^= 1
    for number, data in enumerate(
        [b"", good[:20], good[:-1], good[:-8], good[: len(good) // 2], good + b"x", bytes(flipped)]
    ):
        with pytest.raises(IntegrityError):
            rebuild(data, tmp_path / str(number))


def test_a_flipped_bit_is_detected_or_harmless(written: Written, tmp_path: Path) -> None:
    chance = random.Random(3)
    for number in range(25):
        data = bytearray(written.object)
        data[chance.randrange(len(HEADER), len(data))] ^= 1 << chance.randrange(8)
        try:
            index = rebuild(bytes(data), tmp_path / f"flipped {number}")
        except IntegrityError:
            continue
        assert index.end.digest == written.index.end.digest
