"""The lines of an index, checked one by one (docs/format.md, "The index")."""

import re
from dataclasses import dataclass
from typing import Any, cast

from mgmt.archive import limits
from mgmt.archive.blocks import BLOCK, HEADER
from mgmt.archive.member import Member, Type
from mgmt.errors import IntegrityError

_COUNT = (1 << 63) - 1
_KEPT = re.compile("(?:[a-z]+:[0-9a-f]{64}(?: [a-z]+:[0-9a-f]{64})*)?")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class IndexHeader:
    """The first line: what is known when an archive is begun. `created_at` is RFC 3339, in UTC; sizes are in bytes.

    `owners` and `xattrs` state whether they are kept; older indexes do not state it (see `IndexEnd.kept`).
    """

    key: str
    operation_id: str
    source: str
    host: str
    user: str
    created_at: str
    level: str
    compressor: str
    header_size: int = len(HEADER)
    block_size: int = BLOCK
    owners: bool = False
    xattrs: bool = False


@dataclass(frozen=True)
class IndexEnd:
    """The last line: what is known when an archive is complete. Sizes are in bytes; `checksum` is that of the object,
    `ALGORITHM:VALUE`.

    `kept` lists the owners and extended attributes that are kept (see `Kept`); None in older indexes, which do not
    state it.
    """

    members: int
    blocks: int
    digest: str
    size: int
    checksum: str
    tar_size: int
    tar_crc32: int
    part_size: int
    kept: str | None = None


def check_root(path: object) -> None:
    """Raise ValueError unless the first member has the path of a root."""
    if path in ("", ".", "..") or "/" in _text(path) or "\0" in _text(path):
        raise ValueError(f"{path!r:.80} is not the name of a root")


def to_count(value: object, least: int = 0, most: int = _COUNT) -> int:
    """`value`, which must be a whole number in that range. Raises ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.80} instead of a number from {least} to {most}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} instead of a text")  # noqa: TRY004 - the file is wrong, not the caller
    return value


def _sha256(value: object) -> str:
    text = _text(value)
    if not _SHA256.fullmatch(text):
        raise ValueError(f"{value!r:.80} instead of a sha256")
    return text


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.80} instead of true or false")  # noqa: TRY004 - as above
    return value


def _kept(value: object) -> str | None:
    if value is not None and not _KEPT.fullmatch(_text(value)):
        raise ValueError(f"{value!r:.80} instead of tokens of what is kept")
    return None if value is None else _text(value)


def to_header(path: str, facts: dict[str, Any]) -> IndexHeader:
    """The first line of the index at `path`. Raises IntegrityError for another version, and as `to_member` does."""
    if facts["mgmt"] != "index" or facts["v"] != 1:
        raise IntegrityError(f"{path} is not an index of version 1, the only version supported")
    return IndexHeader(
        key=_text(facts["key"]),
        operation_id=_text(facts["operation_id"]),
        source=_text(facts["source"]),
        host=_text(facts["host"]),
        user=_text(facts["user"]),
        created_at=_text(facts["created_at"]),
        level=_text(facts["level"]),
        compressor=_text(facts["compressor"]),
        header_size=to_count(facts["header"]),
        block_size=to_count(facts["block"], limits.SMALLEST_BLOCK, limits.LARGEST_BLOCK),
        owners=_flag(facts.get("owners", False)),
        xattrs=_flag(facts.get("xattrs", False)),
    )


def to_end(facts: dict[str, Any]) -> IndexEnd:
    """The last line. Raises as `to_member` does."""
    return IndexEnd(
        members=to_count(facts["end"]),
        blocks=to_count(facts["blocks"]),
        digest=_sha256(facts["digest"]),
        size=to_count(facts["size"], most=limits.SIZE - 1),
        checksum=_text(facts["checksum"]),
        tar_size=to_count(facts["tar_size"], most=limits.SIZE - 1),
        tar_crc32=to_count(facts["tar_crc32"], most=0xFFFFFFFF),
        part_size=to_count(facts["part_size"]),
        kept=_kept(facts.get("kept")),
    )


def to_member(facts: dict[str, Any], end: IndexEnd) -> Member:
    """The line of a member. Raises KeyError, TypeError or ValueError where a field is missing or wrong."""
    type_, link = _text(facts["t"]), facts.get("l")
    if type_ not in ("f", "d", "l", "h") or (type_ in "lh" and not link):
        raise ValueError(f"{type_!r:.80} instead of the type of a member")
    size = to_count(facts.get("s", 0), most=end.tar_size)
    return Member(  # by position: by name it takes twice as long
        _text(facts["p"]),
        cast(Type, type_),
        to_count(facts["m"], 0, 0o7777),
        to_count(facts["n"], -limits.TIME_NS, limits.TIME_NS - 1),
        size,
        to_count(facts["o"], 0, end.tar_size),
        to_count(facts["d"], 0, end.tar_size - size),
        bytes.fromhex(_sha256(facts["h"])) if type_ == "f" else None,
        None if link is None else _text(link),
    )
