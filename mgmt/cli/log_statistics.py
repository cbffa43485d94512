"""The table of `mgmt log --stats`."""

from mgmt.cli.render import Column
from mgmt.cli.report_text import duration

STATISTICS = (
    Column("TYPE", "operation_type"),
    Column("OPERATIONS", "operations", "count"),
    Column("SUCCEEDED", "succeeded", "count"),
    Column("FAILED", "failed", "count"),
    Column("PARTIAL", "partial", "count", leaves=2),
    Column("CANCELLED", "cancelled", "count", leaves=3),
    Column("UNFINISHED", "unfinished", "count", leaves=1),
    Column("MEDIAN", lambda each: duration(each.median_seconds), "count", leaves=5),
    Column("95%", lambda each: duration(each.p95_seconds), "count", leaves=6),
    Column("BYTES", "bytes", "size", leaves=4),
    Column("BYTES/S", lambda each: None if each.bytes_per_second is None else round(each.bytes_per_second), "size",
           leaves=7),
)  # fmt: skip
"""Of each type of operation; the durations with their unit."""
