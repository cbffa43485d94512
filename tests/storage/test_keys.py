import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mgmt.errors import ConfigurationError
from mgmt.storage.keys import MAX_KEY_BYTES, check_key, is_key, key_for

names = st.binary(min_size=1, max_size=255).filter(lambda raw: b"/" not in raw and b"\0" not in raw)


def decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@given(names)
@example(b"\xff\xfe")
@example(b"%")
@example(b"..")
def test_every_name_that_linux_allows_has_a_key(raw: bytes) -> None:
    key = key_for(decoded(raw))
    assert check_key(key) == key
    assert "/" not in key
    assert key.endswith(".tar.gz")


@given(st.lists(names, min_size=2, max_size=30, unique=True))
@example([b"a\\b", b"a%5Cb", b"a%5cb", b"a%255Cb"])
@example([b"\xc3\xa9", b"e\xcc\x81", b"\xe9", b"%E9", b"%e9", b"%25E9"])
@example([b"%", b"%%", b"%2", b"%25", b"%2525"])
def test_different_names_have_different_keys(raws: list[bytes]) -> None:
    assert len({key_for(decoded(raw)) for raw in raws}) == len(raws)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("photos", "photos.tar.gz"),
        ("Zoë's 100% café (1).mov", "Zoë's 100% café (1).mov.tar.gz"),
        ("a\\b", "a%5Cb.tar.gz"),
        ("a\nb\x7f", "a%0Ab%7F.tar.gz"),
        ("a\x85b", "a%C2%85b.tar.gz"),
        ("100%20", "100%2520.tar.gz"),
        ("\udcff", "%FF.tar.gz"),
        ("..", "...tar.gz"),
    ],
)
def test_a_name_becomes_a_key(name: str, key: str) -> None:
    assert key_for(name) == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty"),
        ("/a", "empty"),
        ("a/", "empty"),
        ("a//b", "empty"),
        ("./a", r"\."),
        ("a/..", r"\.\."),
        ("a\\b", "backslash"),
        ("a\0", "control"),
        ("a\x85", "control"),
        ("a\udcff", "UTF-8"),
        ("x" * (MAX_KEY_BYTES + 1), "bytes"),
        ("é" * (MAX_KEY_BYTES // 2 + 1), "bytes"),
    ],
)
def test_keys_that_some_store_cannot_hold_are_rejected(key: str, why: str) -> None:
    assert not is_key(key)
    with pytest.raises(ConfigurationError, match=why) as raised:
        check_key(key)
    assert raised.value.next_step


@pytest.mark.parametrize("key", ["a", "a/b.c/...", "x" * MAX_KEY_BYTES, ".hidden", "100%", "é/\U0001f4f7"])
def test_keys_that_every_store_can_hold_are_accepted(key: str) -> None:
    assert check_key(key) == key
