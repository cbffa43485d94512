"""Times in SQL that are the same on SQLite and PostgreSQL: the month of one, the seconds between two."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Time = ColumnElement[Any] | InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]


class _Month(FunctionElement[str]):
    """Argument: a time."""

    type = Text()
    inherit_cache = True


@compiles(_Month, "sqlite")
def _month_in_sqlite(element: _Month, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 7)"


@compiles(_Month, "postgresql")
def _month_in_postgresql(element: _Month, compiler: SQLCompiler, **options: Any) -> str:
    return f"to_char(timezone('UTC', {compiler.process(element.clauses, **options)}), 'YYYY-MM')"


class _Seconds(FunctionElement[float]):
    """Arguments: two times."""

    type = Float()
    inherit_cache = True


@compiles(_Seconds, "sqlite")
def _seconds_in_sqlite(element: _Seconds, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"max(0.0, round((julianday({end}) - julianday({start})) * 86400, 3))"


@compiles(_Seconds, "postgresql")
def _seconds_in_postgresql(element: _Seconds, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(greatest(0, round(EXTRACT(EPOCH FROM {end} - {start}), 3)) AS double precision)"


def month_of(time: Time) -> ColumnElement[str]:
    """The month of a time in UTC, as "2026-11"."""
    return _Month(time)


def seconds_between(start: Time, end: Time) -> ColumnElement[float]:
    """The seconds from `start` to `end`, to a thousandth; 0 if the clock was set back meanwhile."""
    return _Seconds(start, end)
