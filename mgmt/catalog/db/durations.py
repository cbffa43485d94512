"""Durations between two times, which SQLite stores as text; the same numbers on both databases."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


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


def milliseconds(begin: Any, end: Any) -> ColumnElement[int]:
    """From `begin` to `end`, both without what is less than a millisecond.

    0 if the clock was set back meanwhile. NULL without an end (PostgreSQL's GREATEST ignores NULL: ask for the end).
    """
    return _Milliseconds(begin, end)
