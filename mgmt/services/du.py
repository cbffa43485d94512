"""How much is stored, by folder, class, store or tag: counted in the catalog alone."""

from dataclasses import dataclass

from mgmt.catalog import Catalog, Sizes
from mgmt.errors import ConfigurationError

GROUPS = ("folder", "class", "store")
"""What archives can be counted by, besides `tag:KEY`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """How much the archives of a group take. Sizes are in bytes."""

    type: str = "usage"
    group: str | None
    """None for archives in no folder, or without the tag; "(all)" for all together."""
    archives: int
    original_size: int
    size: int
    compression_ratio: float | None
    """Original by stored bytes, as of an upload; None if that is unknown."""


def disk_usage(by: str, catalog: Catalog) -> list[DiskUsage]:
    """The stored archives of each group, the largest first, and last of all together.

    `by` is one of `GROUPS`, or `tag:KEY`. Raises ConfigurationError for anything else.
    """
    if by not in GROUPS and not (by.startswith("tag:") and by != "tag:"):
        raise ConfigurationError(f"cannot count by {by!r}", next_step=f"use one of {', '.join(GROUPS)}, tag:KEY")
    found = sorted(catalog.sizes.sizes_by(by), key=lambda each: (-each.size, each.group is None, each.group or ""))
    archives, original, size, compared = (sum(column) for column in list(zip(*found, strict=True))[1:] or [()] * 4)
    return [_usage(each) for each in (*found, Sizes("(all)", archives, original, size, compared))]


def _usage(sizes: Sizes) -> DiskUsage:
    return DiskUsage(
        group=sizes.group,
        archives=sizes.archives,
        original_size=sizes.original_size,
        size=sizes.size,
        compression_ratio=sizes.original_size / sizes.compared if sizes.original_size and sizes.compared else None,
    )
