"""Times in SQL that are the same on SQLite and PostgreSQL."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text
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


def month_of(time: Time) -> ColumnElement[str]:
    """The month of a time in UTC, as "2026-11"."""
    return _Month(time)
