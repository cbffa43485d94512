"""The table of `mgmt log --stats`."""

from mgmt.cli.render import Column


def _duration(seconds: float | None) -> str | None:
    """In seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return None
    for length, unit in ((3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


STATISTICS = (
    Column("TYPE", "operation_type"),
    Column("OPERATIONS", "operations", "count"),
    Column("SUCCEEDED", "succeeded", "count"),
    Column("FAILED", "failed", "count"),
    Column("PARTIAL", "partial", "count", leaves=2),
    Column("CANCELLED", "cancelled", "count", leaves=3),
    Column("UNFINISHED", "unfinished", "count", leaves=1),
    Column("MEDIAN", lambda each: _duration(each.median_seconds), "count", leaves=5),
    Column("95%", lambda each: _duration(each.p95_seconds), "count", leaves=6),
    Column("BYTES", "bytes", "size", leaves=4),
    Column("BYTES/S", lambda each: None if each.bytes_per_second is None else round(each.bytes_per_second), "size",
           leaves=7),
)  # fmt: skip
"""Of each type of operation; the durations with their unit."""
