"""Archives that try to read or write outside the destination. None succeeds, and none leaves a trace."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from mgmt.archive import Limits, Wanted, extract, inflate, read_members
from mgmt.errors import IntegrityError, MgmtError
from mgmt.progress import NoProgress

Entry = tuple[str, str, str]  # type, name, link or content

LINK, HARD, FILE, DIR = "link", "hard", "file", "dir"
OUTSIDE = "{outside}"

HOSTILE: dict[str, list[Entry]] = {
    "parent": [(FILE, "../evil", "")],
    "parent below": [(DIR, "r", ""), (FILE, "r/../../evil", "")],
    "parent at the end": [(DIR, "r", ""), (DIR, "r/..", "")],
    "parent that stays inside": [(DIR, "r", ""), (DIR, "r/a", ""), (FILE, "r/a/../b", "")],
    "absolute": [(FILE, f"{OUTSIDE}/evil", "")],
    "absolute with two slashes": [(FILE, f"/{OUTSIDE}/evil", "")],
    "dot and absolute": [(FILE, f"./{OUTSIDE}/evil", "")],
    "empty part": [(DIR, "r", ""), (FILE, "r//evil", "")],
    "dot part": [(DIR, "r", ""), (FILE, "r/./evil", "")],
    "only dots": [(FILE, "..", "")],
    "a dot": [(DIR, ".", ""), (FILE, "evil", "")],
    "an empty name": [(FILE, "", "")],
    "a slash": [(DIR, "/", "")],
    "other root": [(DIR, "r", ""), (FILE, "evil", "")],
    "root that begins the same": [(DIR, "r", ""), (FILE, "r2/evil", "")],
    "file through a link": [(DIR, "r", ""), (LINK, "r/l", OUTSIDE), (FILE, "r/l/evil", "")],
    "file through a relative link": [(DIR, "r", ""), (LINK, "r/l", "../.."), (FILE, "r/l/evil", "")],
    "file over a link": [(DIR, "r", ""), (LINK, "r/l", f"{OUTSIDE}/evil"), (FILE, "r/l", "")],
    "link over a file": [(DIR, "r", ""), (FILE, "r/l", ""), (LINK, "r/l", f"{OUTSIDE}/evil")],
    "folder over a link": [(DIR, "r", ""), (LINK, "r/l", OUTSIDE), (DIR, "r/l", "")],
    "folder over a link, then a file": [
        (DIR, "r", ""),
        (LINK, "r/l", OUTSIDE),
        (DIR, "r/l", ""),
        (FILE, "r/l/evil", ""),
    ],
    "link over a folder": [(DIR, "r", ""), (DIR, "r/l", ""), (LINK, "r/l", OUTSIDE)],
    "link over a folder, then a file": [
        (DIR, "r", ""),
        (DIR, "r/l", ""),
        (LINK, "r/l", OUTSIDE),
        (FILE, "r/l/evil", ""),
    ],
    "root is a link": [(LINK, "r", OUTSIDE), (FILE, "r/evil", "")],
    "root is a link, then a folder": [(LINK, "r", OUTSIDE), (DIR, "r", ""), (FILE, "r/evil", "")],
    "root is a folder, then a link": [(DIR, "r", ""), (LINK, "r", OUTSIDE), (FILE, "r/evil", "")],
    "chain of links": [
        (DIR, "r", ""),
        (LINK, "r/a", "."),
        (LINK, "r/a/b", ".."),
        (LINK, "r/a/b/c", ".."),
        (FILE, "r/a/b/c/evil", ""),
    ],
    "long chain of links": [
        (DIR, "r", ""),
        *[(LINK, f"r/{number}", f"{number + 1}") for number in range(60)],
        (LINK, "r/60", OUTSIDE),
        (FILE, "r/0/evil", ""),
    ],
    "hard link to the outside": [(DIR, "r", ""), (HARD, "r/h", f"{OUTSIDE}/secret")],
    "hard link up": [(DIR, "r", ""), (HARD, "r/h", "../outside/secret")],
    "hard link up from inside": [(DIR, "r", ""), (HARD, "r/h", "r/../../outside/secret")],
    "hard link to another root": [(DIR, "r", ""), (HARD, "r/h", "secret")],
    "hard link to what is not there": [(DIR, "r", ""), (HARD, "r/h", "r/missing")],
    "hard link to what comes later": [(DIR, "r", ""), (HARD, "r/h", "r/f"), (FILE, "r/f", "")],
    "hard link to a folder": [(DIR, "r", ""), (DIR, "r/d", ""), (HARD, "r/h", "r/d")],
    "hard link to the root": [(DIR, "r", ""), (HARD, "r/h", "r")],
    "hard link to itself": [(DIR, "r", ""), (HARD, "r/h", "r/h")],
    "hard link through a link": [(DIR, "r", ""), (LINK, "r/l", OUTSIDE), (HARD, "r/h", "r/l/secret")],
    "hard link alone": [(HARD, "r", f"{OUTSIDE}/secret")],
    "hard link over a file": [(DIR, "r", ""), (FILE, "r/f", ""), (FILE, "r/g", ""), (HARD, "r/g", "r/f")],
    "a file twice": [(DIR, "r", ""), (FILE, "r/f", "1"), (FILE, "r/f", "2")],
    "a folder twice": [(DIR, "r", ""), (DIR, "r/d", ""), (DIR, "r/d", "")],
    "a link twice": [(DIR, "r", ""), (LINK, "r/l", "a"), (LINK, "r/l", "b")],
    "the root twice": [(DIR, "r", ""), (DIR, "r", "")],
    "a file below a file": [(DIR, "r", ""), (FILE, "r/f", ""), (FILE, "r/f/evil", "")],
    "a file below the root that is one": [(FILE, "r", ""), (FILE, "r/evil", "")],
    "a file over a folder": [(DIR, "r", ""), (DIR, "r/f", ""), (FILE, "r/f", "")],
    "a file over a folder without an entry": [(DIR, "r", ""), (FILE, "r/f/g", ""), (FILE, "r/f", "")],
    "a folder over a file, then a file": [
        (DIR, "r", ""),
        (FILE, "r/f", ""),
        (DIR, "r/f", ""),
        (FILE, "r/f/evil", ""),
    ],
    "a link over a file, then a file": [
        (DIR, "r", ""),
        (FILE, "r/l", ""),
        (LINK, "r/l", OUTSIDE),
        (FILE, "r/l/evil", ""),
    ],
    "a link over a hard link, then a file": [
        (DIR, "r", ""),
        (FILE, "r/f", ""),
        (HARD, "r/h", "r/f"),
        (LINK, "r/h", OUTSIDE),
        (FILE, "r/h/evil", ""),
    ],
    "NUL": [(DIR, "r", ""), (FILE, "r/evil\0.jpg", "")],
    "NUL in a link": [(DIR, "r", ""), (LINK, "r/l", "a\0b")],
    "NUL in a hard link": [(DIR, "r", ""), (FILE, "r/f", ""), (HARD, "r/h", "r/f\0")],
    "an empty link": [(DIR, "r", ""), (LINK, "r/l", "")],
    "a name that is too long": [(DIR, "r", ""), (FILE, "r/" + "n" * 256, "")],
    "nothing": [],
    "FIFO": [(DIR, "r", ""), ("fifo", "r/evil", "")],
    "character device": [(DIR, "r", ""), ("char", "r/evil", "")],
    "block device": [(DIR, "r", ""), ("block", "r/evil", "")],
    "unknown type": [(DIR, "r", ""), ("unknown", "r/evil", "")],
}

TYPES = {
    LINK: tarfile.SYMTYPE,
    HARD: tarfile.LNKTYPE,
    FILE: tarfile.REGTYPE,
    DIR: tarfile.DIRTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "unknown": b"Q",
}


def tar_of(entries: list[Entry], outside: Path) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for type_, name, other in entries:
            name, other = (text.replace(OUTSIDE, os.fspath(outside)) for text in (name, other))
            member = tarfile.TarInfo("replaced" if name else "")
            member.type = TYPES[type_]
            member.pax_headers = {"path": name} if name else {}  # stores the name unchanged
            data = b""
            if type_ in (LINK, HARD):
                member.pax_headers["linkpath"] = other
            else:
                data = other.encode()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return output.getvalue()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "out").mkdir()
    return tmp_path / "outside"


def everything(root: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[os.fspath(path)] = (status.st_mode, status.st_nlink, content)
    return found


@pytest.mark.parametrize("at_once", [False, True], ids=["files at the end", "files at once"])
@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_rejected_and_leaves_no_trace(
    entries: list[Entry], at_once: bool, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the threads write its files after its other members are read, or each one first."""
    if at_once:
        monkeypatch.setattr("mgmt.archive.file_threads._SIZE", 0)
        monkeypatch.setattr("mgmt.archive.file_threads._PENDING", 0)
    before = everything(tmp_path)
    members = read_members([tar_of(entries, outside)])
    with pytest.raises(MgmtError) as caught:
        extract(members, os.fspath(tmp_path / "out"), token="t", progress=NoProgress())
    assert "\n" not in caught.value.message
    assert everything(tmp_path) == before


@pytest.mark.parametrize("entries", [HOSTILE["parent below"], HOSTILE["file through a link"], HOSTILE["hard link up"]])
def test_a_selected_member_cannot_escape_the_destination(entries: list[Entry], outside: Path, tmp_path: Path) -> None:
    before = everything(tmp_path)
    members = read_members([tar_of(entries, outside)])
    with pytest.raises(MgmtError):
        extract(members, os.fspath(tmp_path / "out"), Wanted(member="r"), token="t", progress=NoProgress())
    assert everything(tmp_path) == before


def test_links_to_the_outside_are_restored_but_not_followed(outside: Path, tmp_path: Path) -> None:
    entries = [(DIR, "r", ""), (LINK, "r/l", OUTSIDE), (LINK, "r/up", "../../outside"), (HARD, "r/h", "r/l")]
    os.utime(outside, ns=(1, 1))
    before = everything(outside), outside.stat().st_mtime_ns
    extract(read_members([tar_of(entries, outside)]), os.fspath(tmp_path / "out"), token="t", progress=NoProgress())
    (tmp_path / "out" / "r").chmod(0o700)
    assert os.readlink(tmp_path / "out" / "r" / "l") == os.readlink(tmp_path / "out" / "r" / "h") == os.fspath(outside)
    assert (everything(outside), outside.stat().st_mtime_ns) == before


def test_a_folder_swapped_for_a_link_is_not_followed(outside: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    class Swap(NoProgress):
        def advance(self, count: int) -> None:
            folder = out / ".mgmt-t.partial" / "d"
            if not folder.is_symlink():
                folder.rename(out / "elsewhere")
                folder.symlink_to(outside)

    entries = [
        (DIR, "r", ""),
        (DIR, "r/d", ""),
        (FILE, "r/d/first", "now swap"),
        (DIR, "r/e", ""),
        (FILE, "r/d/evil", "content"),
    ]
    with pytest.raises(IntegrityError):
        extract(read_members([tar_of(entries, outside)]), os.fspath(out), token="t", progress=Swap())
    assert os.listdir(outside) == ["secret"]
    assert os.listdir(out) == ["elsewhere"]


def test_a_decompression_bomb_stops_early(outside: Path, tmp_path: Path) -> None:
    output = io.BytesIO()
    with gzip.GzipFile(fileobj=output, mode="wb", compresslevel=1) as stream:
        header = tarfile.TarInfo("r")
        header.size = 1 << 40
        stream.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(16):
            stream.write(bytes(1 << 20))
    read: list[int] = []

    class Counting(NoProgress):
        def advance(self, count: int) -> None:
            read.append(count)

    with pytest.raises(IntegrityError, match="more than the 1000 bytes"):
        extract(
            read_members(inflate([output.getvalue()])),
            os.fspath(tmp_path / "out"),
            Wanted(limits=Limits(members=10, size=1000)),
            token="t",
            progress=Counting(),
        )
    assert read == []
    assert os.listdir(tmp_path / "out") == []


def test_too_many_members_stop_at_the_limit(outside: Path, tmp_path: Path) -> None:
    entries = [(DIR, "r", ""), *[(FILE, f"r/{number}", "") for number in range(200)]]
    with pytest.raises(IntegrityError, match="more than the 100 members"):
        extract(
            read_members([tar_of(entries, outside)]),
            os.fspath(tmp_path / "out"),
            Wanted(limits=Limits(members=100)),
            token="t",
            progress=NoProgress(),
        )
    assert os.listdir(tmp_path / "out") == []
