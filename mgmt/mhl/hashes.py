"""The hashes of media hash lists: how each is computed and written."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

FORMATS = ("c4", "md5", "sha1", "xxh128", "xxh3", "xxh64")
"""The formats of ASC MHL 2.0, in the order of its schema. There is no sha256."""

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_C4_DIGITS = 88
_HEX = {"md5": 32, "sha1": 40, "xxh32": 8, "xxh64": 16, "xxh3": 16, "xxh128": 32}
_IS_HEX = re.compile(r"[0-9a-f]+").fullmatch
_IS_C4 = re.compile(rf"c4[{_ALPHABET}]{{{_C4_DIGITS}}}").fullmatch
_IS_DECIMAL = re.compile(r"[0-9]{1,10}").fullmatch

LEGACY = {
    "md5": "md5",
    "sha1": "sha1",
    "c4": "c4",
    "xxh3": "xxh3",
    "xxh64": "xxh64",
    "xxh128": "xxh128",
    "xxhash": "xxh32",
    "xxhash64": "xxh64",
    "xxhash64be": "xxh64",
}
"""Element of MHL 1.1 -> the format that it holds."""


class _Hash(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class Hashing:
    """Hashes of one file in several formats, computed in one pass."""

    def __init__(self, formats: Iterable[str]) -> None:
        self._hashes = {each: _new(each) for each in formats}

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the file."""
        for each in self._hashes.values():
            each.update(piece)

    def values(self) -> dict[str, str]:
        """The hash in each format, as a list writes it."""
        return {name: as_text(name, each.digest()) for name, each in self._hashes.items()}


def as_text(name: str, digest: bytes) -> str:
    """A digest as lists write it: hexadecimal in lower case, or for `c4` a C4 ID (SMPTE ST 2114)."""
    if name != "c4":
        return digest.hex()
    number, digits = int.from_bytes(digest, "big"), ""
    while number:
        number, rest = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[rest] + digits
    return f"c4{digits.rjust(_C4_DIGITS, _ALPHABET[0])}"


def as_bytes(name: str, text: str) -> bytes:
    """The digest that `text` writes; the inverse of `as_text`."""
    if name != "c4":
        return bytes.fromhex(text)
    number = 0
    for digit in text[2:]:
        number = number * len(_ALPHABET) + _ALPHABET.index(digit)
    return number.to_bytes(64, "big")


def canonical(name: str, text: str) -> str | None:
    """`text` as `as_text` writes it; None if it is no hash in the format `name`."""
    if name == "c4":
        return text if _IS_C4(text) and _fits(text) else None
    text = text.lower()
    return text if len(text) == _HEX[name] and _IS_HEX(text) else None


def canonical_legacy(element: str, text: str) -> str | None:
    """The hash of an element of MHL 1.1 as `as_text` writes it; None if it is none.

    `xxhash` is a decimal number, and `xxhash64` has the bytes of `xxhash64be` in reverse order.
    """
    if element == "xxhash":
        return f"{int(text):08x}" if _IS_DECIMAL(text) and int(text) < 1 << 32 else None
    found = canonical(LEGACY[element], text)
    return bytes.fromhex(found)[::-1].hex() if found is not None and element == "xxhash64" else found


def hash_of(name: str, pieces: Iterable[bytes]) -> str:
    """The hash of `pieces` in the format `name`."""
    hashing = Hashing([name])
    for piece in pieces:
        hashing.update(piece)
    return hashing.values()[name]


def hash_of_hashes(name: str, texts: Iterable[str]) -> str:
    """The hash of the digests that `texts` write, sorted: ASC MHL's rule for folders."""
    return hash_of(name, _digests(name, sorted(texts)))


def _digests(name: str, texts: Iterable[str]) -> Iterator[bytes]:
    for each in texts:
        yield as_bytes(name, each)


def _fits(text: str) -> bool:
    """Whether a C4 ID stands for 64 bytes: 88 digits may stand for more."""
    try:
        as_bytes("c4", text)
    except OverflowError:
        return False
    return True


def _new(name: str) -> _Hash:
    known: dict[str, Callable[[], _Hash]] = {"c4": hashlib.sha512, "md5": _md5, "sha1": _sha1}
    if name in known:
        return known[name]()
    import xxhash  # only where a list asks for it

    made: _Hash = {"xxh32": xxhash.xxh32, "xxh64": xxhash.xxh64, "xxh3": xxhash.xxh3_64, "xxh128": xxhash.xxh3_128}[
        name
    ]()
    return made


def _md5() -> _Hash:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> _Hash:
    return hashlib.sha1(usedforsecurity=False)
