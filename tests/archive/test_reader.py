import gzip
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mgmt.archive import BLOCK, HEADER, Member, Tree, digest_members, inflate, read_blocks, read_member
from mgmt.errors import IntegrityError, NotFoundError
from tests.archive.archives import Written, chunked, write
from tests.trees import random_file

MIB = 1 << 20


@pytest.fixture
def large(tmp_path: Path) -> Written:
    root = tmp_path / "root"
    root.mkdir()
    random_file(root / "a", 21 * MIB + 5)
    (root / "b").write_bytes(b"line\n" * (3 * MIB))
    random_file(root / "c", 10_000)
    (root / "d").hardlink_to(root / "c")
    (root / "e").write_bytes(b"")
    (root / "f").symlink_to("c")
    return write(Tree(os.fspath(root), "root"), tmp_path / "index")


def test_every_member_is_read(large: Written, tmp_path: Path) -> None:
    for member in large.index.members():
        pieces = list(read_member(large.index, member, large.fetch))
        if member.type in "fh":
            assert b"".join(pieces) == (tmp_path / member.path).read_bytes()
        else:
            assert pieces == []
        assert all(0 < len(piece) <= MIB for piece in pieces)


def test_only_the_blocks_of_a_member_are_fetched(large: Written) -> None:
    for member in large.index.members():
        large.fetched.clear()
        list(read_member(large.index, member, large.fetch))
        if member.type != "f" or not member.size:
            assert large.fetched == [] or member.type == "h"
            continue
        first, last = member.data_offset // BLOCK, (member.data_offset + member.size - 1) // BLOCK
        assert large.fetched[0][0] == large.index.block_offset(first)
        assert large.fetched[-1][1] == large.index.block_offset(last + 1)
        assert sum(end - start for start, end in large.fetched) == sum(large.index.lengths[first : last + 1])
        assert all(end - start <= 9 * MIB for start, end in large.fetched)


def test_reading_10_kb_fetches_at_most_2_mib(large: Written) -> None:
    large.fetched.clear()
    list(read_member(large.index, large.index.find("root/c"), large.fetch))
    assert sum(end - start for start, end in large.fetched) <= 2 * MIB


@pytest.mark.parametrize("threads", [1, 4])
def test_the_whole_tar_is_read_in_order(large: Written, threads: int) -> None:
    tar = b"".join(read_blocks(large.index, large.fetch, threads))
    assert tar == gzip.decompress(large.object)
    assert sum(end - start for start, end in large.fetched) == len(large.object)


def test_the_digest_of_the_members_is_that_of_the_archive(large: Written) -> None:
    members = list(large.index.members())
    found: list[Member] = []
    contents = digest_members(read_blocks(large.index, large.fetch, 2), found.append)
    assert contents[:3] == (large.archived.digest, large.archived.members, large.archived.original_size)
    assert found == members


def test_inflate_needs_no_index(large: Written) -> None:
    assert b"".join(inflate([large.object])) == gzip.decompress(large.object)
    assert digest_members(inflate(chunked(large.object, 10_007))).digest == large.archived.digest


def test_pieces_are_bounded_however_well_they_compress(tmp_path: Path) -> None:
    zeros = tmp_path / "zeros"
    zeros.write_bytes(bytes(50 * BLOCK))
    written = write(Tree(os.fspath(zeros), "zeros"), tmp_path / "index")
    pieces = list(map(len, inflate([written.object])))
    assert sum(pieces) == written.archived.tar_size
    assert max(pieces) <= BLOCK


def read_all(written: Written) -> bytes:
    return b"".join(read_blocks(written.index, written.fetch, 2))


def read_one(written: Written) -> bytes:
    return b"".join(read_member(written.index, written.index.find("photos/odd/sparse"), written.fetch))


def read_stream(written: Written) -> bytes:
    return b"".join(inflate([written.object]))


@pytest.mark.parametrize("read", [read_all, read_one, read_stream])
def test_a_flipped_bit_is_detected_or_harmless(written: Written, read: Callable[[Written], bytes]) -> None:
    good = read(written)
    chance = random.Random(5)
    data = bytearray(written.object)
    found = 0
    positions = [*range(len(HEADER) + 3), *range(len(data) - 12, len(data))]
    positions += [chance.randrange(len(data)) for _ in range(60)]
    for position in positions:
        bit = 1 << chance.randrange(8)
        data[position] ^= bit
        written.object = bytes(data)
        data[position] ^= bit
        try:
            assert read(written) == good
        except IntegrityError:
            found += 1
    assert found > 5 if read is read_one else found > len(positions) // 2


def test_every_flipped_bit_in_incompressible_data_is_detected(tmp_path: Path) -> None:
    # Incompressible data is stored unchanged, so every bit matters.
    file = random_file(tmp_path / "noise", 2 * MIB)
    written = write(Tree(os.fspath(file), "noise"), tmp_path / "index")
    member = written.index.find("noise")
    good = written.object
    chance = random.Random(6)
    for _ in range(50):
        data = bytearray(good)
        data[chance.randrange(len(HEADER) + 2000, len(good) - 12_000)] ^= 1 << chance.randrange(8)
        written.object = bytes(data)
        with pytest.raises(IntegrityError):
            read_all(written)
        with pytest.raises(IntegrityError):
            list(read_member(written.index, member, written.fetch))


@pytest.mark.parametrize("cut", [1, 8, 9, 1000, 200_000])
def test_truncation_is_detected(written: Written, cut: int) -> None:
    with pytest.raises(IntegrityError):
        list(inflate([written.object[:-cut]]))
    written.object = written.object[:-cut]
    with pytest.raises(IntegrityError):
        read_all(written)


def test_a_member_with_another_hash_is_rejected(large: Written) -> None:
    member = large.index.find("root/c")
    other = member._replace(sha256=bytes(32))
    with pytest.raises(IntegrityError, match=r"root/c in photos\.tar\.gz is corrupt"):
        list(read_member(large.index, other, large.fetch))
    beyond = member._replace(data_offset=1 << 40)
    with pytest.raises(IntegrityError, match="beyond the end"):
        list(read_member(large.index, beyond, large.fetch))


def test_an_abandoned_reader_stops_its_threads(large: Written) -> None:
    before = threading.active_count()
    reading = read_blocks(large.index, large.fetch, 3)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_store_error_is_passed_on(large: Written) -> None:
    def fetch(start: int, end: int) -> bytes:
        if start > len(HEADER) and end < len(large.object):
            raise NotFoundError("gone")
        return large.fetch(start, end)

    with pytest.raises(NotFoundError, match="gone"):
        list(read_blocks(large.index, fetch, 2))


class TestInflate:
    DATA = b"some text, " * 50_000

    def test_several_members_and_padding(self) -> None:
        stream = gzip.compress(self.DATA) + gzip.compress(b"more") + gzip.compress(b"") + bytes(1000)
        for size in (1, 7, 1 << 20):
            assert b"".join(inflate(chunked(stream, size))) == self.DATA + b"more"

    def test_a_header_with_everything(self) -> None:
        body = gzip.compress(b"data", mtime=0)[10:]
        head = b"\x1f\x8b\x08\x1c\0\0\0\0\0\xff" + b"\x04\0abcd" + b"name\0" + b"comment\0"
        assert b"".join(inflate([head + body])) == b"data"

    @pytest.mark.parametrize("stream", [b"", bytes(100), b"PK\x03\x04" + bytes(100), b"\x1f\x8b", b"plain text"])
    def test_what_is_no_gzip(self, stream: bytes) -> None:
        with pytest.raises(IntegrityError):
            list(inflate([stream]))

    def test_damage(self) -> None:
        stream = gzip.compress(self.DATA)
        for damaged in (
            stream[:-1],
            stream[:-8],
            stream[:200],
            stream + b"junk",
            stream + stream[:50],
            stream[:-8] + bytes(8),
            stream[:-4] + bytes(4),
        ):
            with pytest.raises(IntegrityError):
                list(inflate(chunked(damaged, 1000)))

    def test_a_bomb_comes_in_pieces(self) -> None:
        stream = gzip.compress(bytes(80 * MIB), 9)
        assert max(map(len, inflate([stream]))) <= 68 * MIB
