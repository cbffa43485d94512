import random
import zlib

import pytest

from mgmt.archive.blocks import BLOCK, HEADER, crc32_combine, largest_object, pack, trailer, unpack
from mgmt.choices import Level
from mgmt.errors import IntegrityError

NOISE = random.Random(1).randbytes(BLOCK)
TEXT = b"".join(b"line %d of a text that repeats itself\n" % number for number in range(40_000))[:BLOCK]
SYNC = b"\0\0\xff\xff"


def joined(data: bytes, level: Level = Level.FAST) -> bytes:
    return b"".join(pack(data, level)[0])


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(
    "data",
    [NOISE, TEXT, NOISE[:100], b"x", bytes(10240), NOISE[:65535], NOISE[:65536], TEXT[:300_000] + NOISE[:400_000]],
    ids=["noise", "text", "short noise", "a byte", "zeros", "65535", "65536", "mixed"],
)
def test_a_block_inflates_independently(data: bytes, level: Level) -> None:
    pieces, crc = pack(data, level)
    piece = b"".join(pieces)
    assert all(type(each) is bytes for each in pieces)
    assert crc == zlib.crc32(data)
    assert piece.endswith(SYNC)
    assert unpack(piece, len(data)) == data
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(piece) == data
    assert not inflater.eof  # no BFINAL: another block can follow
    assert inflater.decompress(b"\x03\0") == b""
    assert inflater.eof


def test_incompressible_data_is_stored_as_specified() -> None:
    expected = b"".join(
        b"\0" + len(part).to_bytes(2, "little") + (len(part) ^ 0xFFFF).to_bytes(2, "little") + part
        for part in (NOISE[start : start + 65535] for start in range(0, BLOCK, 65535))
    )
    assert joined(NOISE) == joined(NOISE, Level.BALANCED) == expected + b"\0\0\0\xff\xff"


def test_partly_compressible_data_is_compressed() -> None:
    # Of the 16 samples, one is text: together they shrink by more than 3 %.
    data = bytearray(NOISE)
    data[:70_000] = TEXT[:70_000]
    assert len(joined(bytes(data))) < BLOCK - 60_000


def test_a_block_that_does_not_shrink_is_stored() -> None:
    data = bytearray(NOISE)
    step = (BLOCK - 8192) // 15
    for sample in range(16):
        data[sample * step : sample * step + 300] = bytes(300)
    packed = joined(bytes(data))
    assert len(packed) <= BLOCK + 17 * 5 + 5


def test_pack_keeps_no_reference_to_its_input() -> None:
    buffer = bytearray(NOISE)
    pieces, _ = pack(memoryview(buffer), Level.FAST)
    buffer[:] = bytes(BLOCK)
    assert unpack(b"".join(pieces), BLOCK) == NOISE


@pytest.mark.parametrize("data", [NOISE, TEXT], ids=["stored", "compressed"])
def test_an_incomplete_block_is_rejected(data: bytes) -> None:
    piece = joined(data)
    for damaged in (piece[: len(piece) // 2], piece[:-5], b"", b"\x07" + piece[1:]):
        with pytest.raises(IntegrityError):
            unpack(damaged, len(data))
    for size in (len(data) - 1, len(data) + 1):
        with pytest.raises(IntegrityError):
            unpack(piece, size)


def test_blocks_form_one_gzip_member() -> None:
    parts = [NOISE, TEXT, NOISE[:777]]
    pieces, crc, size = b"", 0, 0
    for part in parts:
        packed, part_crc = pack(part, Level.FAST)
        crc = crc32_combine(crc, part_crc, len(part))
        size += len(part)
        pieces += b"".join(packed)
    inflater = zlib.decompressobj(31)
    assert inflater.decompress(HEADER + pieces + trailer(crc, size)) == b"".join(parts)
    assert inflater.eof
    assert not inflater.unused_data


@pytest.mark.parametrize("size", [1, 10240, BLOCK, BLOCK + 1, 5 * BLOCK - 3])
def test_no_object_exceeds_largest_object(size: int) -> None:
    noise = random.Random(2).randbytes(size)
    blocks = [joined(noise[start : start + BLOCK]) for start in range(0, size, BLOCK)]
    assert len(HEADER) + sum(map(len, blocks)) + len(trailer(0, 0)) <= largest_object(size)
