"""Lists of any origin: what is read of them, and what is refused within bounds."""

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.errors import IntegrityError
from mgmt.mhl import manifest
from mgmt.mhl.manifest import parse, parse_chain
from tests.mhl.lists import asc, legacy, parsed, pieces

XXH64 = "0ea03b369a463d9d"
FILE = f'<hash><path size="5">a/b.mov</path><xxh64 action="original">{XXH64}</xxh64></hash>'


def test_a_manifest_is_read() -> None:
    ignore = "<ignore><pattern>*.tmp</pattern><pattern>/x</pattern></ignore>"
    moved = f"<hash><path>new</path><xxh64>{XXH64.upper()}</xxh64><previousPath>old</previousPath></hash>"
    folder = "<directoryhash><path>a/</path><content/><structure/></directoryhash>"
    c4 = "c4" + "1" * 88
    after = f"<references><hashlistreference><path>a/ascmhl/1.mhl</path><c4>{c4}</c4></hashlistreference></references>"
    found = parsed(asc(FILE + moved + folder, after, ignore))
    assert not found.legacy
    assert found.ignore == ["*.tmp", "/x"]
    assert found.references == [("a/ascmhl/1.mhl", c4, 0)]
    assert list(found.entries) == ["a/b.mov", "new", "a"]
    file, renamed, inner = found.entries.values()
    assert (file.size, file.hashes, file.previous) == (5, {"xxh64": (XXH64, False)}, None)
    assert (renamed.previous, renamed.hashes) == ("old", {"xxh64": (XXH64, False)})
    assert inner.is_folder


def test_metadata_may_hold_anything() -> None:
    found = parsed(
        asc(f"<hash><path>a</path><metadata>{FILE}<path>../up</path></metadata></hash>", f"<metadata>{FILE}</metadata>")
    )
    assert list(found.entries) == ["a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_a_list_in_another_encoding_is_read(encoding: str) -> None:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>' + asc(FILE.replace("b.mov", "é.mov")).decode().partition("?>")[2]
    )
    assert list(parsed(text.encode(encoding)).entries) == ["a/é.mov"]


PATHS = {
    "../up": "leaves the folder",
    "a/../../up": "leaves the folder",
    "a/..": "leaves the folder",
    "/etc/passwd": "absolute",
    "": "no path",
    ".": "no path",
    "x" * 5000: "longer than",
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:12])
def test_a_path_that_leaves_the_folder_is_refused(path: str) -> None:
    for content in (asc(FILE.replace("a/b.mov", path)), legacy(f"<hash><file>{path}</file></hash>")):
        with pytest.raises(IntegrityError, match=PATHS[path]) as caught:
            parsed(content)
        assert caught.value.message.startswith("list.mhl ")


@pytest.mark.parametrize("path", ["..\\up", "a\\..\\..\\up", "C:\\card\\a.mov", "C:/card/a.mov"])
def test_a_path_of_windows_that_leaves_the_folder_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match=r"leaves the folder|absolute"):
        parsed(legacy(f"<hash><file>{path}</file></hash>"))


BOMB = "<!DOCTYPE x [<!ENTITY a 'ha'>" + "".join(f"<!ENTITY a{n} '{'&a;' * 10}'>" for n in range(20)) + "]>"
WRONG: dict[str, bytes] = {
    "entity": b"<!DOCTYPE hashlist [<!ENTITY x 'y'>]>" + asc("&x;").partition(b"?>")[2],
    "external entity": b"<!DOCTYPE hashlist [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><hashlist>&x;</hashlist>",
    "billion laughs": BOMB.encode() + b"<hashlist version='2.0'>&a19;</hashlist>",
    "external DTD": b"<!DOCTYPE hashlist SYSTEM 'http://localhost/x.dtd'><hashlist version='2.0'/>",
    "undefined entity": asc("&x;"),
    "truncated": asc(FILE)[:-20],
    "empty": b"",
    "not XML": b"\x00\x01\x02 hello",
    "wrong encoding": asc(FILE.replace("b.mov", "\u00e9")).decode().encode("iso-8859-1"),
    "unknown encoding": b'<?xml version="1.0" encoding="x-none"?><hashlist version="2.0"/>',
    "deep": asc("<a>" * 100_000),
    "another root": b"<html/>",
    "no version": b"<hashlist/>",
    "version 3": b'<hashlist version="3.0"/>',
    "short hash": asc(FILE.replace(XXH64, XXH64[1:])),
    "long hash": asc(FILE.replace(XXH64, "0" * 1000)),
    "no hex": asc(FILE.replace(XXH64, "g" * 16)),
    "c4 of 89 bytes": asc(f"<hash><path>a</path><c4>c4{'z' * 88}</c4></hash>"),
    "twice": asc(FILE + FILE),
    "twice, spelled otherwise": asc(FILE + FILE.replace("a/b", "./a//b")),
    "two paths": asc(FILE.replace("<xxh64", "<path>x</path><xxh64")),
    "two hashes": asc(FILE.replace("</hash>", f"<xxh64>{XXH64}</xxh64></hash>")),
    "odd action": asc(FILE.replace("original", "made up")),
    "negative size": asc(FILE.replace('"5"', '"-5"')),
    "huge size": asc(FILE.replace('"5"', f'"{"9" * 30}"')),
    "reference outside": asc(
        FILE, "<references><hashlistreference><path>../x</path></hashlistreference></references>"
    ),
    "reference without C4": asc(FILE, "<references><hashlistreference><path>x</path></hashlistreference></references>"),
    "xxhash beyond 32 bits": legacy("<hash><file>a</file><xxhash>4294967296</xxhash></hash>"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_list_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(IntegrityError, match=r"list\.mhl cannot be used as a media hash list: "):
        parsed(WRONG[name])


def repeated(start: bytes, piece: bytes, size: int) -> Iterator[bytes]:
    yield start
    block = piece * (1 << 20 - len(piece).bit_length())
    while size > 0:
        yield block
        size -= len(block)


HEAD = b'<hashlist version="2.0"><hashes>'
LARGE: dict[str, tuple[bytes, bytes, str]] = {
    "an attribute": (HEAD + b'<hash a="', b"x", "attribute"),
    "a name": (HEAD + b"<h", b"x", "name"),
    "a comment": (HEAD + b"<!--", b"x ", "comment"),
    "a text": (HEAD + b"<hash><path>", b"x", "text of an element"),
    "elements": (HEAD, b"<a/>", "too many elements"),
    "attributes": (HEAD + b"<hash ", b"a='b' ", "attribute"),
    "patterns": (b'<hashlist version="2.0"><processinfo><ignore>', b"<pattern>x</pattern>", "patterns"),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_list_of_100_mb_is_refused_in_little_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_MOST_ELEMENTS", 200_000)  # in proportion: each costs a microsecond
    start, piece, reason = LARGE[name]
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(IntegrityError, match=reason):
            parse("list.mhl", repeated(start, piece, 100_000_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
    assert time.process_time() - begun < 5


def test_more_than_the_most_entries_and_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MOST_ENTRIES", 10)
    with pytest.raises(IntegrityError, match="more than 10 entries"):
        parsed(asc("".join(FILE.replace("b.mov", str(number)) for number in range(11))))
    monkeypatch.setattr(manifest, "LARGEST", 1 << 20)
    with pytest.raises(IntegrityError, match="larger than 1 MiB"):
        parse("list.mhl", repeated(HEAD, b" ", 2 << 20))


def chained(*generations: tuple[str, str]) -> bytes:
    lines = "".join(
        f'<hashlist sequencenr="{number}"><path>{path}</path><c4>c4{"1" * 88}</c4></hashlist>'
        for number, path in generations
    )
    return f'<ascmhldirectory xmlns="urn:ASC:MHL:DIRECTORY:v2.0">{lines}</ascmhldirectory>'.encode()


def test_a_chain_is_read() -> None:
    found = parse_chain("chain", pieces(chained(("1", "0001_a.mhl"), ("2", "0002_a.mhl"))))
    assert [(each.number, each.path) for each in found] == [(1, "0001_a.mhl"), (2, "0002_a.mhl")]


@pytest.mark.parametrize(
    "content",
    [
        chained(("2", "0002_a.mhl")),
        chained(("1", "0001_a.mhl"), ("3", "0003_a.mhl")),
        chained(("2", "0002_a.mhl"), ("1", "0001_a.mhl")),
        chained(("1", "a.mhl"), ("2", "a.mhl")),
        chained(("1", "../a.mhl")),
        chained(("1", "x/a.mhl")),
        chained(("", "a.mhl")),
        asc(FILE),
    ],
)
def test_a_chain_that_is_broken_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError, match="chain cannot be used"):
        parse_chain("chain", [content])


@given(st.binary(max_size=300), st.data())
def test_no_damage_raises_anything_but_an_integrity_error(noise: bytes, data: st.DataObject) -> None:
    content = asc(FILE)
    at = data.draw(st.integers(0, len(content)))
    until = data.draw(st.integers(at, len(content)))
    readers: list[Callable[[str, Iterable[bytes]], object]] = [parse, parse_chain]
    for reader in readers:
        try:
            reader("list.mhl", [content[:at], noise, content[until:]])
        except IntegrityError as exc:
            assert exc.message.startswith("list.mhl ")  # noqa: PT017
