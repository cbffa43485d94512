"""Reading tars of other tools."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.archive import Member, read_members
from mgmt.archive.header import Header
from mgmt.errors import IntegrityError
from tests.archive.archives import chunked
from tests.archive.tools import gnu_tar

END = bytes(1024)


def entries(tar: bytes, size: int = 1000) -> list[tuple[Member, bytes]]:
    return [(member, b"".join(map(bytes, content))) for member, content in read_members(chunked(tar, size))]


def tar_with(*members: tarfile.TarInfo, format_: int = tarfile.PAX_FORMAT, content: bytes = b"") -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=format_) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


def info(name: str, **facts: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for fact, value in facts.items():
        setattr(member, fact, value)
    return member


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tarfile_is_read(format_: int) -> None:
    name = "root/" + "d" * 90 + "/" + "n" * 90
    tar = tar_with(
        info("root", type=tarfile.DIRTYPE, mode=0o755),
        info(name, size=7, mtime=1_700_000_000, mode=0o640),
        info("root/link", type=tarfile.SYMTYPE, linkname="t" * 100),
        info("root/hard", type=tarfile.LNKTYPE, linkname="root/link"),
        format_=format_,
        content=b"content",
    )
    found = entries(tar)
    assert [(member.path, member.type, member.link) for member, _ in found] == [
        ("root", "d", None),
        (name, "f", None),
        ("root/link", "l", "t" * 100),
        ("root/hard", "h", "root/link"),
    ]
    assert found[1][0].mtime_ns == 1_700_000_000 * 10**9
    assert found[1][1] == b"content"
    assert tar[found[1][0].data_offset :].startswith(b"content")


@pytest.mark.parametrize("format_", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_every_format_of_gnu_tar_is_read(tmp_path: Path, format_: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "file").write_bytes(b"x" * 1000)
    os.utime(root / "file", ns=(10**18 + 123_456_789, 10**18 + 123_456_789))
    (root / "link").symlink_to("file")
    (root / "same").hardlink_to(root / "file")
    if format_ not in ("v7", "ustar"):
        (root / ("n" * 200)).write_text("long")
        (root / "long link").symlink_to("t/" * 150 + "t")
    tar = gnu_tar(tmp_path, "cf", "-", f"--format={format_}", "--sort=name", "root")
    found = {member.path: (member, content) for member, content in entries(tar)}
    expected = {"root"} | {os.path.relpath(path, tmp_path) for path in root.rglob("*")}
    assert set(found) == expected
    assert found["root/file"][1] == b"x" * 1000
    assert found["root/link"][0].link == "file"
    assert found["root/same"][0].link == "root/file"
    assert found["root/file"][0].mtime_ns == (10**18 + 123_456_789 if format_ == "pax" else 10**18)
    if "root/long link" in found:
        assert found["root/long link"][0].link == "t/" * 150 + "t"


def test_numbers_in_base_256_are_read() -> None:
    tar = tar_with(info("old", mtime=-5), format_=tarfile.GNU_FORMAT)
    assert tar[136] == 0xFF
    [(member, _)] = entries(tar)
    assert member.mtime_ns == -5 * 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1.5", 1_500_000_000),
        ("-1.25", -1_250_000_000),
        ("7", 7 * 10**9),
        ("3.", 3 * 10**9),
        ("0.1234567899", 123_456_789),
    ],
)
def test_times_in_pax_records_are_read(text: str, nanoseconds: int) -> None:
    [(member, _)] = entries(tar_with(info("a", pax_headers={"mtime": text})))
    assert member.mtime_ns == nanoseconds


def test_global_records_apply_to_all_following_members() -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", pax_headers={"mtime": "5.000000001", "comment": "x"}) as tar:
        tar.addfile(info("a"))
        tar.addfile(info("b"))
    assert [member.mtime_ns for member, _ in entries(output.getvalue())] == [5_000_000_001] * 2


def test_a_leading_dot_is_stripped_from_paths(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("b")
    tar = gnu_tar(tmp_path, "cf", "-", ".")
    assert [member.path for member, _ in entries(tar)] == [".", "a", "a/b"]


def test_a_volume_label_is_not_a_member(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    tar = gnu_tar(tmp_path, "cf", "-", "-V", "label", "a")
    assert [member.path for member, _ in entries(tar)] == ["a"]


@pytest.mark.parametrize("type_", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"])
def test_unsupported_members_are_rejected_or_reported(type_: bytes) -> None:
    tar = tar_with(info("odd", type=type_), info("a", size=1), content=b"a")
    with pytest.raises(IntegrityError, match=r"the archive holds odd, .* mgmt cannot restore"):
        entries(tar)
    told: list[tuple[str, str]] = []
    found = [member.path for member, _ in read_members([tar], lambda path, reason: told.append((path, reason)))]
    assert found == ["a"]
    assert [path for path, _ in told] == ["odd"]


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "old"])
def test_sparse_members_are_rejected(tmp_path: Path, version: str) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(500_000)
        file.write(b"data")
    options = ["--format=gnu"] if version == "old" else ["--format=pax", f"--sparse-version={version}"]
    tar = gnu_tar(tmp_path, "cSf", "-", *options, "sparse")
    with pytest.raises(IntegrityError, match="a sparse file"):
        entries(tar)


def test_unread_content_is_skipped() -> None:
    tar = tar_with(info("a", size=100_000), info("b", size=100_000), content=b"x" * 100_000)
    assert [member.path for member, _ in read_members(chunked(tar, 77))] == ["a", "b"]
    half = [next(iter(content), b"") for _, content in read_members([tar])]
    assert len(half) == 2


def test_a_tar_without_an_end_and_an_empty_tar() -> None:
    tar = tar_with(info("a", size=5), content=b"hello")
    assert [content for _, content in entries(tar[:1024])] == [b"hello"]
    assert entries(END) == []
    assert entries(b"") == []


def test_the_stream_is_read_to_its_end() -> None:
    given: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number, piece in enumerate([tar_with(info("a")), b"\0" * 5000, b"junk"]):
            given.append(number)
            yield piece

    assert len(list(read_members(chunks()))) == 1
    assert given == [0, 1, 2]


GOOD = Header("file", "f", mode=0o644, mtime_ns=1, size=5).pack() + b"hello".ljust(512, b"\0") + END


@pytest.mark.parametrize("length", [1, 511, 512, 700, 1024, 1500, 1537, 1540])
def test_truncation_is_detected(length: int) -> None:
    with pytest.raises(IntegrityError):
        entries(GOOD[:length])


def pax(records: bytes) -> bytes:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = b"x", len(records)
    body = records.ljust(-(-len(records) // 512) * 512, b"\0")
    return header.tobuf(tarfile.USTAR_FORMAT) + body + Header("a", "f", mode=0, mtime_ns=0).pack() + END


def field(offset: int, value: bytes) -> bytes:
    """A header with one field overwritten and a valid checksum."""
    header = bytearray(Header("a", "f", mode=0, mtime_ns=0).pack())
    header[offset : offset + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + END


@pytest.mark.parametrize(
    "tar",
    [
        b"x" * 10240,
        GOOD[:520] + b"\xff" + GOOD[521:],
        b"\x7fELF".ljust(10240, b"\0"),
        pax(b"no length\n"),
        pax(b"5 a=b"),
        pax(b"99 a=b\n"),
        pax(b"6 a=bc"),
        pax(b"5 ab\n"),
        pax(b"0 a=b\n"),
        pax(b"2 a=b\n"),
        pax(b"13 size=-512\n"),
        pax(b"12 size=1e3\n"),
        pax(b"14 mtime=soon\n"),
        pax(b"13 mtime=nan\n"),
        pax(b"%d mtime=%s\n" % (128, b"9" * 117)),
        field(124, b"\xff" * 12),
        field(124, b"\x80" + b"\x7f" * 11),
        field(136, b"\x80" + b"\x7f" * 11),
        field(124, b"notoctal"),
        Header("a", "f", mode=0, mtime_ns=1).pack()[:1024] + END,
    ],
)
def test_other_data_is_rejected(tar: bytes) -> None:
    with pytest.raises(IntegrityError):
        entries(tar)


def test_an_oversized_extended_header_is_rejected() -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = b"x", 1 << 40
    with pytest.raises(IntegrityError, match="extended header of 1099511627776 bytes"):
        entries(header.tobuf(tarfile.GNU_FORMAT) + END)


def test_an_endless_chain_of_extended_headers_is_rejected() -> None:
    one = Header("a", "f", mode=0, mtime_ns=1).pack()[:1024]
    with pytest.raises(IntegrityError, match="extended headers"):
        entries(one * 5000)
