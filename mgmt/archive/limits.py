"""The limits of the format: checked by the writer before it writes, and by the reader (docs/format.md)."""

from json.encoder import encode_basestring_ascii as quote

SIZE = 1 << 62
"""A file, and a whole tar, has fewer bytes than this."""

TIME_NS = 1 << 63
"""Nanoseconds since 1970: a time is at least minus this, and less than this (1677-09-21 to 2262-04-11)."""

EXTENDED = 1 << 20
"""Bytes of all extended records of a member: its extended attributes, and names that do not fit elsewhere."""

EXTENDED_IN_A_ROW = 16
"""Extended headers before one member. mgmt writes at most one."""

DEPTH = 4096
"""Parts of a path, including the root."""

LINE = 1 << 20
"""Bytes of a line of an index, including its LF."""

NAMES = LINE - 512
"""Bytes of a member's path and its link's target in the index, each in quotes and escaped: its line has at most 512
others."""

BLOCKS_A_LINE = 8192
"""Blocks per line of an index."""

SMALLEST_BLOCK = 1 << 20
LARGEST_BLOCK = 64 << 20
"""The range of block sizes, in bytes of tar, that an index may state."""

RATIO = 1032
"""The maximum expansion by deflate (RFC 1951: 258 bytes from two bits)."""

RECORD = 512
"""Minimum bytes of tar of a member."""

SHORT_NAMES = 4096
"""Characters of a path and a link's target together that are within all limits."""


class OverLimitError(Exception):
    """A member could be archived but not read again: `reason` says why, `next_step` what can be done."""

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.next_step = next_step


def is_size(size: int) -> bool:
    """Whether a file or a tar may have `size` bytes."""
    return 0 <= size < SIZE


def is_time(mtime_ns: int) -> bool:
    """Whether a member may have this time."""
    return -TIME_NS <= mtime_ns < TIME_NS


def are_names(path: str, link: str) -> bool:
    """Whether a member may have this path and this link target (empty if it is not a link)."""
    if len(path) + len(link) < SHORT_NAMES:
        return True
    return path.count("/") < DEPTH and len(quote(path)) + len(quote(link)) <= NAMES


def is_plain(path: str, mtime_ns: int, size: int) -> bool:
    """Whether a member without a link and extended attributes is within all limits without a closer look."""
    return len(path) < SHORT_NAMES and is_time(mtime_ns) and is_size(size)


def most_members(object_size: int) -> int:
    """The maximum number of members in an object of `object_size` bytes."""
    return object_size * RATIO // RECORD


def largest_index(object_size: int) -> int:
    """The maximum size of the lines of the index of an object of `object_size` bytes.

    The names in a member's line are also in the tar, and escaping makes them at most 6 times as long; numbers and
    hashes take less than the rest of a tar header. Blocks take less than the object. The first line may be long.
    """
    return 7 * RATIO * object_size + object_size + 2 * LINE


def check_facts(path: str, link: str, mtime_ns: int, size: int) -> None:
    """Refuse a member that could be written but never read again. Raises OverLimitError."""
    if not is_time(mtime_ns):
        raise OverLimitError(
            "its modification time is outside the years 1677 to 2262, which an archive can represent",
            "give it another time with touch, or leave it out with --exclude",
        )
    if not is_size(size):
        raise OverLimitError(
            f"it has {size} bytes, and an archive holds less than {SIZE}", "leave it out with --exclude"
        )
    if not are_names(path, link):
        raise OverLimitError(
            f"its path is too long or too deep: the limits are {NAMES} bytes, escaped, and {DEPTH} parts",
            "archive a folder further down by itself, or leave it out with --exclude",
        )


def check_extended(size: int, *, has_xattrs: bool) -> None:
    """Refuse `size` bytes of extended records of one member, if it is too many. Raises OverLimitError."""
    if size > EXTENDED:
        what = "extended attributes take" if has_xattrs else "names take"
        raise OverLimitError(
            f"its {what} {size} bytes, and an archive keeps at most {EXTENDED} of one member",
            "archive it without --xattrs, or leave it out with --exclude"
            if has_xattrs
            else "leave it out with --exclude",
        )
