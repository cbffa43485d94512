"""How long operations took, and the bytes that are divided by that; the same numbers on both databases."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, cast, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from mgmt.catalog.records.inspections import VerifyRecord
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.transfers import DownloadRecord, UploadRecord

MOVED: Mapping[str, Any] = {
    "upload": UploadRecord.__table__.c.original_size,
    "download": DownloadRecord.__table__.c.downloaded_size,
    "verify": VerifyRecord.__table__.c.checked_size,
}
"""The bytes that the operations of a type have read to archive, restore or verify them."""


class Took(NamedTuple):
    """How long operations took, in seconds; the median and what 95 of 100 did not exceed, both by nearest rank."""

    median: float
    p95: float
    total: float


class _Milliseconds(FunctionElement[int]):
    """Arguments: the begin and the end."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Milliseconds, "sqlite")
def _in_sqlite(element: _Milliseconds, compiler: SQLCompiler, **options: Any) -> str:
    # A time is text of fixed width. SQLite would round it to milliseconds; so it is cut first.
    begin, end = (f"julianday(substr({compiler.process(clause, **options)}, 1, 23))" for clause in element.clauses)
    return f"max(0, CAST(round(({end} - {begin}) * 86400000) AS INTEGER))"


@compiles(_Milliseconds, "postgresql")
def _in_postgresql(element: _Milliseconds, compiler: SQLCompiler, **options: Any) -> str:
    begin, end = (f"date_trunc('milliseconds', {compiler.process(clause, **options)})" for clause in element.clauses)
    return f"GREATEST(0, CAST(extract(epoch FROM ({end} - {begin})) * 1000 AS bigint))"


def milliseconds() -> ColumnElement[int]:
    """From the begin of an operation to its end, both without what is less than a millisecond.

    0 if the clock was set back meanwhile. NULL without an end (PostgreSQL's GREATEST ignores NULL: ask for the end).
    """
    return _Milliseconds(operations.c.started_at, operations.c.completed_at)


def took(durations: Iterable[int]) -> Took:
    """What is to be said of these milliseconds, of at least one operation.

    SQLite has no percentiles, and sorts rows slower than Python numbers.
    """
    ranked = sorted(durations)
    median, p95 = (ranked[-(-len(ranked) * percent // 100) - 1] for percent in (50, 95))
    return Took(median / 1000, p95 / 1000, sum(ranked) / 1000)


def took_on_server() -> list[ColumnElement[Any]]:
    """The same as PostgreSQL finds it, in milliseconds."""
    shares = [func.percentile_disc(share).within_group(milliseconds()) for share in (0.5, 0.95)]
    return [*shares, cast(func.sum(milliseconds()), BigInteger)]
