"""Every limit of the format, once: what a writer asks before it writes, and what a reader refuses (docs/format.md)."""

from json.encoder import encode_basestring_ascii as quote

SIZE = 1 << 62
"""Bytes that a file, and a whole tar, must stay below."""

TIME_NS = 1 << 63
"""Nanoseconds since 1970: a time is at least minus this, and below it (1677-09-21 to 2262-04-11)."""

EXTENDED = 1 << 20
"""Bytes of all extended records of one member: its extended attributes, and names that do not fit elsewhere."""

EXTENDED_IN_A_ROW = 16
"""Extended headers before one member. A writer of ours makes at most one."""

DEPTH = 4096
"""Parts of a path, the root among them."""

LINE = 1 << 20
"""Bytes of a line of an index, the LF among them."""

NAMES = LINE - 512
"""Bytes of a member's path and the target of its link in the index, each in quotes and escaped: its line has no more
than 512 others."""

BLOCKS_A_LINE = 8192
"""Blocks on one line of an index."""

SMALLEST_BLOCK = 1 << 20
LARGEST_BLOCK = 64 << 20
"""Bytes of tar in a block that an index may speak of."""

RATIO = 1032
"""Bytes that deflate can make of one (RFC 1951: 258 bytes from two bits)."""

RECORD = 512
"""Bytes of tar that a member takes at least."""

SHORT_NAMES = 4096
"""Characters of a path and a link's target together that are within all limits."""


class OverLimitError(Exception):
    """Something that cannot be archived so that it can be read again: `reason` says why, `mend` what can be done."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mend = mend


def is_size(size: int) -> bool:
    """Whether a file or a tar may have `size` bytes."""
    return 0 <= size < SIZE


def is_time(mtime_ns: int) -> bool:
    """Whether a member may have that time."""
    return -TIME_NS <= mtime_ns < TIME_NS


def are_names(path: str, link: str) -> bool:
    """Whether a member may have that path, and that target of its link (nothing, when it is none)."""
    if len(path) + len(link) < SHORT_NAMES:
        return True
    return path.count("/") < DEPTH and len(quote(path)) + len(quote(link)) <= NAMES


def most_members(object_size: int) -> int:
    """The most members that an object of `object_size` bytes can hold."""
    return object_size * RATIO // RECORD


def largest_index(object_size: int) -> int:
    """The most bytes that the lines of the index of an object of `object_size` bytes can have.

    Whatever is in a line of a member is in the tar too, and takes at most 6 times as much when it is escaped; numbers
    and hashes take less than what a header has besides. Blocks take less than the object. The first line may be long.
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
