"""What is written is read again as it was, and is valid by the schema."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgmt.errors import RefusedError
from mgmt.mhl.hashes import FORMATS, Hashing
from mgmt.mhl.manifest import Reference, parse, parse_chain
from mgmt.mhl.write import File, Generation, Made, chain, folder_hashes, manifest
from tests.mhl.lists import is_valid, parsed, samples

MADE = Made(datetime(2026, 1, 31, 12, 0, 0, 123456, UTC), "cart <1> & co", 'mgmt "x"', "1.0", "transfer")
C4 = Hashing(["c4"]).values()["c4"]

NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0\ufffe\uffff" + "".join(map(chr, range(32))))
    | st.sampled_from("\t\r\n &<>'\""),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def hashes(content: bytes, formats: tuple[str, ...] = FORMATS) -> dict[str, str]:
    hashing = Hashing(formats)
    hashing.update(content)
    return hashing.values()


@settings(max_examples=40)
@given(
    st.dictionaries(PATHS, st.binary(max_size=20), max_size=5),
    st.sets(st.sampled_from(FORMATS), min_size=1),
    st.lists(NAMES, unique=True, max_size=3),
    st.integers(-(2**62), 2**62),
)
def test_a_list_is_read_as_it_was_written(
    contents: dict[str, bytes], chosen: set[str], patterns: list[str], mtime_ns: int
) -> None:
    formats = tuple(sorted(chosen))
    files = [File(path, len(each), mtime_ns, hashes(each, formats)) for path, each in contents.items()]
    folders = {path.rpartition("/")[0]: mtime_ns for path in contents if "/" in path}
    folders = {path: when for path, when in folders.items() if path not in contents}
    references = [Reference(f"{name}/ascmhl/0001.mhl", C4) for name in patterns]
    written = Generation(MADE, files, folders, patterns, references, formats)
    found = parse("list.mhl", manifest(written))
    assert found.ignore == patterns
    assert found.references == references
    assert {path: each.size for path, each in found.entries.items() if not each.is_folder} == {
        path: len(each) for path, each in contents.items()
    }
    assert {path for path, each in found.entries.items() if each.is_folder} == set(folders)
    for file in files:
        stated = {name: each.text for name, each in found.entries[file.path].hashes.items()}
        assert stated == file.hashes


@given(st.lists(NAMES.filter(lambda name: "/" not in name), unique=True, max_size=5))
def test_a_chain_is_read_as_it_was_written(names: list[str]) -> None:
    written = [Reference(name, C4, number) for number, name in enumerate(names, 1)]
    assert parse_chain("chain", chain(written)) == written


@pytest.mark.parametrize("name", ["bell\a", "not utf-8 \udcff", "\ufffe", "null\0"])
def test_a_name_that_xml_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(RefusedError, match="cannot hold"):
        list(manifest(Generation(MADE, [File(name, 0, 0, hashes(b""))])))


def test_the_hashes_of_folders_are_those_of_the_samples() -> None:
    """Of scenario 1, as `ascmhl` has computed them."""
    folder = samples() / "scenario_01/travel_01/A002R2EC"
    [made] = (folder / "ascmhl").glob("*.mhl")
    names = [name for name, entry in parsed(made.read_bytes()).entries.items() if not entry.is_folder]
    files = [File(name, 0, 0, hashes((folder / name).read_bytes(), ("xxh64",))) for name in names]
    found = folder_hashes(Generation(MADE, files, {"Clips": 0}, hashed=("xxh64",)))
    text = made.read_text("utf-8")
    for each in found.values():
        assert f">{each.content['xxh64']}</xxh64>" in text
        assert f">{each.structure['xxh64']}</xxh64>" in text


@pytest.mark.parametrize("full", [False, True])
def test_what_is_written_is_valid_by_the_schema(tmp_path: Path, full: bool) -> None:
    files = [
        File("a & <b>", 3, 0, hashes(b"abc"), {"md5": "verified", "c4": "failed"}, "before"),
        File("in/c", 0, 1, hashes(b"")),
    ]
    least = Generation(MADE, [], ignore=())
    most = Generation(
        MADE, files, {"in": 5, "empty": -(2**62)}, ("*.tmp",), [Reference("in/ascmhl/1.mhl", C4)], FORMATS
    )
    (tmp_path / "list.mhl").write_bytes(b"".join(manifest(most if full else least)))
    assert is_valid(tmp_path / "list.mhl")
    (tmp_path / "chain.xml").write_bytes(b"".join(chain([Reference("0001_a.mhl", C4, 1)])))
    assert is_valid(tmp_path / "chain.xml", "-df")
