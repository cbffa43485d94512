"""How a store copies an object onto itself: at once, or in parts (S3 user guide, "Copying objects")."""

LARGEST_COPY = 5 << 30
"""Bytes that one request copies at most."""

PART_SIZE = 512 << 20
"""Bytes of a part that is copied, or more, so that an object has at most `MOST_PARTS`."""

MOST_PARTS = 10_000


def copied_part(size: int) -> int:
    """The bytes of a part of an object of `size` bytes that is copied in parts."""
    return max(PART_SIZE, -(-size // MOST_PARTS))


def copied_parts(size: int) -> int:
    """In how many parts an object of `size` bytes is copied; 1 at once."""
    return 1 if size <= LARGEST_COPY else -(-size // copied_part(size))
