"""`mgmt download` of hostile archives and forged indexes exits with 8 and leaves nothing anywhere."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.archive.test_hostile import FILE, HOSTILE, everything, tar_of
from tests.conftest import Figure
from tests.program import Done, Program

REFUSED_BY_THE_DISK = {"a name that is too long", f"the root's path = {'r' * 300!r}"}
"""Names that no disk accepts, which is no fault of the archive: exit status 1."""


def header(name: bytes, size: bytes, *, type_: bytes = b"0", mode: bytes = b"0000644\0") -> bytes:
    """A ustar header with arbitrary fields and a valid checksum."""
    block = name.ljust(100, b"\0") + mode + b"0000000\0" * 2 + size.ljust(12, b"\0") + b"00000000000\0"
    block += b" " * 8 + type_ + bytes(100) + b"ustar\x0000" + bytes(247)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def pax(record: bytes, size: int | None = None) -> bytes:
    """An extended header whose body is exactly `record`."""
    stated = b"%011o\0" % (len(record) if size is None else size)
    return header(b"PaxHeader", stated, type_=b"x") + record + bytes(-len(record) % 512)


GOOD = header(b"r", b"00000000003\0") + b"abc".ljust(512, b"\0")
END = bytes(1024)
LONG = b"2014 path=../" + b"n" * 2000 + b"\n"

TARS: dict[str, bytes] = {
    "a negative size": header(b"r", b"\xff" * 12) + END,
    "a size beyond all disks": header(b"r", b"\x80" + b"\x7f" * 11) + END,
    "a size that is not a number": header(b"r", b"abc") + END,
    "a size that is beyond the end": header(b"r", b"00077777777\0") + b"abc",
    "a wrong checksum": b"R" + GOOD[1:] + END,
    "a pax size beyond the end": pax(b"14 size=99999\n") + GOOD + END,
    "a pax size below the truth": pax(b"10 size=1\n") + header(b"r", b"00000002000\0") + b"A" * 1024 + END,
    "a negative pax size": pax(b"11 size=-1\n") + GOOD + END,
    "a pax size of 40 digits": pax(b"49 size=" + b"9" * 40 + b"\n") + GOOD + END,
    "a pax record longer than its header": pax(b"999 path=x\n") + GOOD + END,
    "a pax record that goes backwards": pax(b"0 path=x\n") + GOOD + END,
    "a pax record of length 1": pax(b"1 \n") + GOOD + END,
    "a pax record without an end": pax(b"9 path=xyz") + GOOD + END,
    "a pax header of a gigabyte": pax(b"9 path=x\n", size=1 << 30) + GOOD + END,
    "a pax header of a negative size": header(b"x", b"\xff" * 12, type_=b"x") + GOOD + END,
    "pax headers without end": pax(b"10 path=x\n") * 100 + GOOD + END,
    "a pax header and nothing": pax(b"10 path=x\n"),
    "a pax time that is not a number": pax(b"14 mtime=soon\n") + GOOD + END,
    "a time of 30 digits": pax(b"39 mtime=-" + b"9" * 28 + b"\n") + GOOD + END,
    "an attribute with NUL in its name": pax(b"27 SCHILY.xattr.user.a\0b=x\n") + GOOD + END,
    "a GNU name without an end": header(b"././@LongLink", b"00000002000\0", type_=b"L") + b"n" * 100,
    "a GNU sparse file": header(b"r", b"00000000003\0", type_=b"S") + b"abc".ljust(512, b"\0") + END,
    "a pax sparse file": pax(b"22 GNU.sparse.major=1\n") + GOOD + END,
    "text": b"this is not a tar".ljust(1024, b"."),
    "zeros": END,
    "one byte": b"x",
}

SPLIT = gzip.compress(b"")


def each_byte(data: bytes) -> bytes:
    """A gzip member for each byte."""
    return b"".join(gzip.compress(data[at : at + 1], 1) for at in range(len(data)))


STREAMS: dict[str, bytes] = {
    "nothing": b"",
    "not gzip": b"PK\3\4" + bytes(100),
    "a truncated gzip": gzip.compress(GOOD + END)[:-20],
    "a gzip without its trailer": gzip.compress(GOOD + END)[:-8],
    "a gzip with a wrong checksum": gzip.compress(GOOD + END)[:-8] + b"\0" * 8,
    "a flipped bit in the checksum": gzip.compress(GOOD + END)[:-6] + b"\0" + gzip.compress(GOOD + END)[-5:],
    "garbage after the end": gzip.compress(GOOD + END) + b"garbage",
    "a second gzip that is damaged": gzip.compress(GOOD + END) + gzip.compress(b"more")[:-6],
    "a second gzip that is not one": gzip.compress(GOOD[:300]) + b"\x1f\x8b\x08" + bytes(40),
    "an empty gzip": SPLIT,
    "a thousand empty gzips": SPLIT * 1000,
    "a long name, a gzip for each byte": each_byte(pax(LONG) + GOOD + END),
}


def hostile(outside: Path) -> dict[str, bytes]:
    """Every hostile archive, by its name, as the store holds it."""
    members = {name: gzip.compress(tar_of(entries, outside), 1) for name, entries in HOSTILE.items()}
    return members | {name: gzip.compress(tar, 1) for name, tar in TARS.items()} | STREAMS


STEP = pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.torture)])
"""The default run tries every sixth; `make torture` tries all."""


def refused(mgmt: Program, before: object, *arguments: str) -> Done:
    """Download into `out`; assert that it is refused without a traceback and changes nothing but the catalog."""
    done = mgmt.run("download", *arguments, "--to", os.fspath(mgmt.home / "out"))
    assert "Traceback" not in done.stderr
    assert sum(not line.startswith("       # ") for line in done.stderr.splitlines()) <= 2, done.stderr
    assert snapshot(mgmt) == before
    return done


def snapshot(mgmt: Program) -> object:
    return [everything(mgmt.home / each) for each in ("out", "outside", "store", "work")]


def every(step: int, all_: dict[str, Any]) -> dict[str, Any]:
    return dict(list(all_.items())[::step])


@pytest.fixture
def place(mgmt: Program) -> Program:
    for name in ("out", "outside", "work"):
        (mgmt.home / name).mkdir()
    (mgmt.home / "outside" / "secret").write_text("secret")
    return mgmt


@STEP
def test_hostile_archives_are_refused_and_leave_nothing(place: Program, figure: Figure, step: int) -> None:
    all_archives = hostile(place.home / "outside")
    assert len(all_archives) >= 40
    archives = every(step, all_archives)
    wrong = {}
    for name, data in archives.items():
        (place.home / "store" / "hostile.tar.gz").write_bytes(data)
        done = refused(place, snapshot(place), "hostile")
        if done.returncode != (1 if name in REFUSED_BY_THE_DISK else 8):
            wrong[name] = done
    assert wrong == {}
    statuses = {each["status"] for each in place.json("log", "--type", "download", "--limit", "1000")}
    assert statuses == {"failed"}
    figure("security", "hostile archives through download", tried=len(archives), violations=0)


def test_unusual_but_harmless_names_are_extracted_inside_the_destination(place: Program) -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in (
            "r",
            "r/CASE",
            "r/case",
            "r/\u00e9",
            "r/e\u0301",
            "r/.mgmt-0123456789ab.partial",
            "r/a\x1b[31m\n\u202e",
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode = (tarfile.DIRTYPE, 0o7755) if name == "r" else (tarfile.REGTYPE, 0o6711)
            tar.addfile(member, io.BytesIO())
        loop = tarfile.TarInfo("r/loop")
        loop.type, loop.linkname = tarfile.SYMTYPE, "loop"
        tar.addfile(loop)
    stored = place.home / "store" / "r.tar.gz"
    for data in (
        gzip.compress(output.getvalue()),
        gzip.compress(output.getvalue()[:700]) + gzip.compress(output.getvalue()[700:]),
    ):
        stored.write_bytes(data)
        for old in (place.home / "out").iterdir():
            old.rename(place.home / "older")
        place.ok("download", "r", "--to", os.fspath(place.home / "out"))
        found = everything(place.home / "out")
        assert len(found) == 8
        assert all(mode & 0o6000 == 0 for mode, _, _ in found.values())
        assert os.readlink(place.home / "out" / "r" / "loop") == "loop"


Lines = list[dict[str, Any]]
BAD_NUMBERS: tuple[object, ...] = (-1, 0, 1, 1 << 31, 1 << 63, 1 << 200, "8", None, 1.5, [], True)


def put(line: int, key: str, value: object) -> Callable[[Lines], None]:
    return lambda lines: lines[line].update({key: value})


def forgeries(lines: Lines) -> dict[str, Lines]:
    """The index with one false value in each; `write_index` corrects its own sha256."""
    found: dict[str, Lines] = {}

    def forge(name: str, change: Callable[[Lines], object]) -> None:
        copy = json.loads(json.dumps(lines))
        change(copy)
        if copy != lines:
            found[name] = copy

    members = [number for number, line in enumerate(lines) if "p" in line]
    for key in ("header", "block"):
        for value in BAD_NUMBERS:
            forge(f"{key} = {value!r}", put(0, key, value))
    for key in ("size", "tar_size", "tar_crc32", "end", "blocks"):
        for value in BAD_NUMBERS:
            forge(f"{key} = {value!r}", put(-1, key, value))
    for value in ("0" * 64, "", None, 1):
        forge(f"digest = {value!r}", put(-1, "digest", value))
    for value in (None, 1, [], {}, "../../outside/evil", "/etc/evil", "..", "", "a\0b", "r" * 300):
        forge(f"the root's path = {value!r}", put(members[0], "p", value))
    blocks = next(number for number, line in enumerate(lines) if "b" in line)
    for value in ("AAAA", "", None, "AAAAAAAAAAA=", "/////////////w==", 5, "é"):
        forge(f"blocks {value!r}", put(blocks, "b", value))
    forge("no members", lambda all_: [all_.pop(number) for number in reversed(members)] and all_[-1].update(end=0))
    forge("one member less", lambda all_: (all_.pop(members[-1]), all_[-1].update(end=len(members) - 1)))
    forge("no end", lambda all_: all_.pop())
    forge("no header", lambda all_: all_.pop(0))
    forge("another version", lambda all_: all_[0].update(v=2))
    return found


def member_forgeries(lines: Lines) -> dict[str, Lines]:
    """Forgeries of members, which matter only for `--member`."""
    found: dict[str, Lines] = {}
    chosen = next(number for number, line in enumerate(lines) if line.get("p") == "r/first")
    other = next(number for number, line in enumerate(lines) if line.get("p") == "r/second")
    for key in ("o", "d", "s", "m", "n", "h", "t", "l"):
        for value in (*BAD_NUMBERS, "h", "l", "zz"):
            copy = json.loads(json.dumps(lines))
            copy[chosen][key] = value
            if copy != lines:
                found[f"{key} = {value!r}"] = copy
    for link in ("r/first", "r/second", "../outside", ""):
        copy = json.loads(json.dumps(lines))
        copy[chosen].update(t="h", l=link)
        copy[other].update(t="h", l="r/first")
        found[f"hard links in a ring to {link!r}"] = copy
    return found


def write_index(path: Path, lines: Lines) -> None:
    texts = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines]
    if texts and "sha256" in lines[-1]:
        last = {**lines[-1], "sha256": hashlib.sha256(b"".join(texts[:-1])).hexdigest()}
        texts[-1] = json.dumps(last, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(gzip.compress(b"".join(texts), 1))


@pytest.fixture
def indexed(place: Program) -> tuple[Path, Lines]:
    """The index of an archive that is in no catalog."""
    (place.work / "r").mkdir()
    (place.work / "r" / "first").write_text("first")
    (place.work / "r" / "second").write_text("second")
    place.ok("upload", "r")
    place.records.remove()
    (path,) = (place.home / "store").glob("*.index.jsonl.gz")
    return path, [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@STEP
def test_forged_indexes_are_refused_and_leave_nothing(
    place: Program, indexed: tuple[Path, Lines], figure: Figure, step: int
) -> None:
    path, lines = indexed
    wrong = {}
    forged = every(step, forgeries(lines))
    for name, index in forged.items():
        write_index(path, index)
        done = refused(place, snapshot(place), "r")
        if done.returncode != (1 if name in REFUSED_BY_THE_DISK else 8):
            wrong[name] = done
    assert wrong == {}
    first = json.dumps(lines[0]).encode() + b"\n"
    raw = {
        "nothing": b"",
        "not gzip": b"{}",
        "truncated": path.read_bytes()[:-9],
        "a bomb of one line": gzip.compress(b'{"p":"' + bytes(32 << 20), 1),
        "nested without end": gzip.compress(b'{"p":' + b"[" * 100_000 + b"\n", 1),
        "a bomb of blocks": gzip.compress(first + (b'{"b":"' + b"AAAQAAAAAAA" * 95_000 + b'="}\n') * 70),
        "a bomb of short lines": gzip.compress(first + b"\n" * (70 << 20), 1),
        "blocks of odd length": gzip.compress(b'{"b":"' + b"A" * 4 + b'"}\n'),
    }
    for name, data in raw.items():
        path.write_bytes(data)
        assert refused(place, snapshot(place), "r").returncode == 8, name
    figure("security", "forged indexes through download", tried=len(forged) + len(raw), violations=0)


@STEP
def test_a_forged_member_entry_gives_the_true_member_or_nothing(
    place: Program, indexed: tuple[Path, Lines], figure: Figure, step: int
) -> None:
    path, lines = indexed
    forged = every(step, member_forgeries(lines))
    for name, index in forged.items():
        write_index(path, index)
        before = snapshot(place)
        done = place.run("download", "r", "--member", "first", "--to", os.fspath(place.home / "out"))
        assert "Traceback" not in done.stderr, name
        if done.returncode == 0:  # the forged value was not used
            assert (place.home / "out" / "first").read_text() == "first", name
            (place.home / "out" / "first").unlink()
        else:
            assert done.returncode == 8, (name, done)
        assert snapshot(place) == before or done.returncode == 0, name
    figure("security", "forged member entries through download --member", tried=len(forged), violations=0)


def test_an_existing_file_in_place_of_the_root_is_not_touched(place: Program) -> None:
    entries = [(FILE, "hostile", "new")]
    (place.home / "store" / "hostile.tar.gz").write_bytes(gzip.compress(tar_of(entries, place.home)))
    (place.home / "out" / "hostile").symlink_to(place.home / "outside" / "secret")
    assert refused(place, snapshot(place), "hostile").returncode == 10
