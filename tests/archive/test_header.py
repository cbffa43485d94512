import io
import os
import tarfile
from pathlib import Path

import pytest

from mgmt.archive.header import Header, Owner, pack_file
from mgmt.archive.member import Type
from mgmt.archive.tar_stream import read_members
from tests.archive.tools import TARS, Tar

SECOND = 10**9
GIB = 1 << 30


def parse(header: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(header + bytes(10240)), mode="r:") as tar:
        [member] = tar.getmembers()
        return member


def test_a_plain_header_equals_that_of_tarfile() -> None:
    info = tarfile.TarInfo("photos/a.jpg")
    info.mode, info.mtime, info.size = 0o640, 1_700_000_000, 12345
    header = Header("photos/a.jpg", "f", mode=0o640, mtime_ns=1_700_000_000 * SECOND, size=12345).pack()
    assert _without_device(header) == _without_device(info.tobuf(tarfile.USTAR_FORMAT))


@pytest.mark.parametrize(
    ("kind", "link", "type_"),
    [("d", "", tarfile.DIRTYPE), ("l", "to", tarfile.SYMTYPE), ("h", "photos/x", tarfile.LNKTYPE)],
)
def test_headers_of_other_types_equal_those_of_tarfile(kind: Type, link: str, type_: bytes) -> None:
    info = tarfile.TarInfo("photos/a" + "/" * (kind == "d"))
    info.type, info.mode, info.mtime, info.linkname = type_, 0o755, 7, link
    header = Header("photos/a", kind, mode=0o755, mtime_ns=7 * SECOND, link=link).pack()
    assert _without_device(header) == _without_device(info.tobuf(tarfile.USTAR_FORMAT))


def test_nanoseconds_are_written_as_nine_digits() -> None:
    header = Header("a", "f", mode=0o644, mtime_ns=1_700_000_000 * SECOND + 7).pack()
    assert b"30 mtime=1700000000.000000007\n" in header
    assert len(header) == 3 * 512
    assert parse(header).mtime == pytest.approx(1_700_000_000)


@pytest.mark.parametrize(
    "mtime_ns", [0, 1, -1, -SECOND, -SECOND - 1, -1_500_000_000, 8**11 * SECOND - 1, 8**11 * SECOND, 8**11 * SECOND + 5]
)
def test_every_time_round_trips(mtime_ns: int) -> None:
    header = Header("a", "f", mode=0o644, mtime_ns=mtime_ns).pack()
    [(member, _)] = read_members([header])
    assert member.mtime_ns == mtime_ns
    assert parse(header).mtime == pytest.approx(mtime_ns / 1e9)


def test_records_are_sorted() -> None:
    xattrs = {b"user.z": b"1", b"user.a": b"\0\n=", b"user.=%": b"2"}
    header = Header("n" * 300, "f", mode=0, mtime_ns=5, size=9 * GIB, xattrs=xattrs).pack()
    keywords = [line.split(b"=")[0].split(b" ")[-1] for line in header[512:-512].replace(b"\0\n=", b"").split(b"\n")]
    records = [keyword for keyword in keywords if keyword.strip(b"\0")]
    assert records == sorted(records)
    _, content = next(read_members([header]))
    assert content.xattrs() == xattrs


@pytest.mark.parametrize("length", [*range(80, 110), *range(980, 1005)])
def test_a_record_length_includes_its_own_digits(length: int) -> None:
    name = "n" * length
    [(member, _)] = read_members([Header(name, "l", mode=0o777, mtime_ns=0, link=name).pack()])
    assert (member.path, member.link) == (name, name)
    assert parse(Header(name, "l", mode=0o777, mtime_ns=0, link=name).pack()).linkname == name


def test_sizes_from_8_gib_are_written_in_both_places() -> None:
    header = Header("big", "f", mode=0o644, mtime_ns=0, size=8 * GIB).pack()
    assert b"19 size=8589934592\n" in header
    ustar = header[-512:]
    assert ustar[124:136] == b"\x80" + (8 * GIB).to_bytes(11, "big")
    assert int(ustar[148:154], 8) == sum(ustar) - sum(ustar[148:156]) + 8 * 32
    assert tarfile.TarInfo.frombuf(ustar, "utf-8", "strict").size == 8 * GIB
    assert b"size=" not in Header("big", "f", mode=0o644, mtime_ns=0, size=8 * GIB - 1).pack()


@pytest.mark.parametrize("tar", TARS, ids=str)
def test_every_reader_finds_the_member_after_9_gib(tar: Tar, tmp_path: Path) -> None:
    path = tmp_path / "big.tar"
    with path.open("wb") as file:  # the content is a hole, which readers seek over
        file.write(Header("big", "f", mode=0o644, mtime_ns=0, size=9 * GIB).pack())
        file.seek(9 * GIB, os.SEEK_CUR)
        file.write(Header("after", "f", mode=0o644, mtime_ns=0).pack())
        file.write(bytes(10240))
    assert tar.names(path) == ["big", "after"]


def test_owners_are_kept_on_request() -> None:
    header = Header("a", "f", mode=0o644, mtime_ns=0, owner=Owner(1000, 2000, b"ann", b"staff")).pack()
    member = parse(header)
    assert (member.uid, member.gid, member.uname, member.gname) == (1000, 2000, "ann", "staff")
    assert len(header) == 512
    member = parse(
        Header("a", "f", mode=0o644, mtime_ns=0, owner=Owner(1 << 31, 1 << 22, "jürgen".encode(), b"g" * 40)).pack()
    )
    assert (member.uid, member.gid, member.uname, member.gname) == (1 << 31, 1 << 22, "jürgen", "g" * 40)


def test_owners_are_left_out_by_default() -> None:
    member = parse(Header("a", "f", mode=0o644, mtime_ns=0).pack())
    assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


LONG = "p" * 155 + "/" + "n" * 100


@pytest.mark.parametrize("path", ["a", "n" * 100, f"p/{'n' * 99}", f"p/{'n' * 100}", LONG, "r/two\nlines"])
@pytest.mark.parametrize("mode", [0, 0o644, 0o7777])
@pytest.mark.parametrize("mtime_ns", [10**18, 10**18 + 1, 1_767_323_045_500_000_000, 8**11 * SECOND - 1])
@pytest.mark.parametrize("size", [0, 1, 8 * GIB - 1])
def test_the_header_of_an_ordinary_file_is_packed_in_one_step(path: str, mode: int, mtime_ns: int, size: int) -> None:
    whole = Header(path, "f", mode=mode, mtime_ns=mtime_ns, size=size).pack()
    assert pack_file(path.encode(), mode, mtime_ns, size) == whole


@pytest.mark.parametrize(
    ("path", "mtime_ns", "size"),
    [
        ("n" * 101, 10**18, 0),
        (f"{'p' * 156}/n", 10**18, 0),
        ("ü", 10**18, 0),
        ("a\udcff", 10**18, 0),
        ("a", 10**18 - 1, 0),
        ("a", -1, 0),
        ("a", 8**11 * SECOND, 0),
        ("a", 10**18, 8 * GIB),
    ],
)
def test_the_header_of_another_file_takes_more_steps(path: str, mtime_ns: int, size: int) -> None:
    assert pack_file(path.encode("utf-8", "surrogateescape"), 0o644, mtime_ns, size) is None


def _without_device(header: bytes) -> bytes:
    """The header without its checksum and device numbers, which are empty or zero except for devices."""
    return header[:148] + header[156:329] + header[345:]
