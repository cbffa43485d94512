"""Durations between two times, which SQLite stores as text; the same numbers on both databases."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _Microseconds(FunctionElement[int]):
    """Arguments: the begin and the end."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Microseconds, "sqlite")
def _in_sqlite(element: _Microseconds, compiler: SQLCompiler, **options: Any) -> str:
    # The functions of SQLite round to milliseconds; a time is text of fixed width.
    begin, end = (
        f"(CAST(strftime('%s', substr({text}, 1, 19)) AS INTEGER) * 1000000 + CAST(substr({text}, 21, 6) AS INTEGER))"
        for text in (compiler.process(clause, **options) for clause in element.clauses)
    )
    return f"max(0, {end} - {begin})"


@compiles(_Microseconds, "postgresql")
def _in_postgresql(element: _Microseconds, compiler: SQLCompiler, **options: Any) -> str:
    begin, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"GREATEST(0, CAST(extract(epoch FROM ({end} - {begin})) * 1000000 AS bigint))"


def microseconds(begin: Any, end: "ColumnElement[datetime | None]") -> ColumnElement[int]:
    """From `begin` to `end` in whole microseconds; 0 if the clock was set back meanwhile, NULL without an end."""
    return _Microseconds(begin, end)
