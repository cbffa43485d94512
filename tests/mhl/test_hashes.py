"""Each format, against values that other programs have computed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.mhl.hashes import FORMATS, Hashing, as_bytes, as_text, canonical, canonical_legacy, hash_of_hashes

C4_OF_NOTHING = "c459dsjfscH38cYeXXYogktxf4Cd9ibshE3BHUo6a58hBXmRQdZrAkZzsWcbWtDg5oQstpDuni4Hirj75GEmTc1sFT"


def test_known_hashes() -> None:
    hashing = Hashing([*FORMATS, "xxh32"])
    assert hashing.values() == {
        "c4": C4_OF_NOTHING,
        "md5": "d41d8cd98f00b204e9800998ecf8427e",
        "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "xxh128": "99aa06d3014798d86001c324468d497f",
        "xxh3": "2d06800538d394c2",
        "xxh64": "ef46db3751d8e999",
        "xxh32": "02cc5d05",
    }


def test_the_hash_of_a_folder_sorts_the_hashes() -> None:
    first, second = "0ea03b369a463d9d", "7680e5f98f4a80fd"
    assert hash_of_hashes("xxh64", [second, first]) == hash_of_hashes("xxh64", [first, second]) == "4c226b42e27d7af3"


@pytest.mark.parametrize("name", [*FORMATS, "xxh32"])
@given(data=st.data())
def test_as_bytes_reverses_as_text(name: str, data: st.DataObject) -> None:
    length = len(as_bytes(name, Hashing([name]).values()[name]))
    digest = data.draw(st.binary(min_size=length, max_size=length))
    text = as_text(name, digest)
    assert canonical(name, text) == text
    assert as_bytes(name, text) == digest


def test_the_elements_of_mhl_1_are_translated() -> None:
    assert canonical_legacy("xxhash64be", "EF46DB3751D8E999") == "ef46db3751d8e999"
    assert canonical_legacy("xxhash64", "99e9d85137db46ef") == "ef46db3751d8e999"
    assert canonical_legacy("xxhash", "46947589") == "02cc5d05"
    assert canonical_legacy("xxhash", "0046947589") == "02cc5d05"
    assert canonical_legacy("xxhash", "02cc5d05") is None
