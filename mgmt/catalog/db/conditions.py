"""SQL conditions that behave the same on SQLite and PostgreSQL. User input is bound, never part of the SQL."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, Select, TableValuedAlias, Text, and_, cast, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from mgmt.catalog.records.types import UTCDateTime, display, exact_bytes


class _Like(FunctionElement[bool]):
    """Arguments: the text, the case-folded pattern, the original pattern."""

    type = Boolean()
    inherit_cache = True


@compiles(_Like, "sqlite")
def _in_sqlite(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    text, folded, _ = (compiler.process(clause, **options) for clause in element.clauses)
    # LIKE ignores the case of ASCII, and nearly every name is ASCII; casefold takes ten times as long.
    is_ascii = f"length({text}) = length(CAST({text} AS BLOB))"
    return f"(CASE WHEN {is_ascii} THEN {text} ELSE casefold({text}) END LIKE {folded} ESCAPE '!')"


@compiles(_Like, "postgresql")
def _in_postgresql(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    text, _, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    # The collation of the columns, which sorts by code point, ignores the case of ASCII only.
    return f"""(({text}) COLLATE "default" ILIKE {pattern} ESCAPE '!')"""


def _like(text: Any, keyword: str, before: str, after: str) -> ColumnElement[bool]:
    shown = display(keyword)
    folded, given = (t.replace("!", "!!").replace("%", "!%").replace("_", "!_") for t in (shown.casefold(), shown))
    return _Like(text, literal(f"{before}{folded}{after}"), literal(f"{before}{given}{after}"))


def containing(text: Any, keyword: str) -> ColumnElement[bool]:
    """`text` contains `keyword`, ignoring case; `%` and `_` are literal."""
    return _like(text, keyword, "%", "%")


def beginning(text: Any, keyword: str) -> ColumnElement[bool]:
    """`text` starts with `keyword`, ignoring case."""
    return _like(text, keyword, "", "%")


def ending(text: Any, keyword: str) -> ColumnElement[bool]:
    """`text` ends with `keyword`, ignoring case."""
    return _like(text, keyword, "%", "")


class _Tagged(FunctionElement[bool]):
    """Arguments: a JSON object, a key, a value."""

    type = Boolean()
    inherit_cache = True


@compiles(_Tagged, "sqlite")
def _tagged_in_sqlite(element: _Tagged, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite's JSON paths cannot express every key, and `->>` does not decode escapes of non-ASCII keys.
    tags, key, value = (compiler.process(clause, **options) for clause in element.clauses)
    tags = f"CASE WHEN json_valid({tags}) THEN {tags} ELSE '{{}}' END"  # another program may have written anything
    return f"EXISTS (SELECT 1 FROM json_each({tags}) AS tag WHERE tag.key = {key} AND tag.value = {value})"  # noqa: S608


@compiles(_Tagged, "postgresql")
def _tagged_in_postgresql(element: _Tagged, compiler: SQLCompiler, **options: Any) -> str:
    tags, key, value = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CAST({tags} AS jsonb) @> jsonb_build_object(CAST({key} AS text), CAST({value} AS text)))"  # has an index


class _TagValue(FunctionElement[str]):
    """Arguments: a JSON object, a key."""

    type = Text()
    inherit_cache = True


@compiles(_TagValue, "sqlite")
def _value_in_sqlite(element: _TagValue, compiler: SQLCompiler, **options: Any) -> str:
    tags, key = (compiler.process(clause, **options) for clause in element.clauses)
    tags = f"CASE WHEN json_valid({tags}) THEN {tags} ELSE '{{}}' END"
    return f"(SELECT tag.value FROM json_each({tags}) AS tag WHERE tag.key = {key})"  # noqa: S608


@compiles(_TagValue, "postgresql")
def _value_in_postgresql(element: _TagValue, compiler: SQLCompiler, **options: Any) -> str:
    tags, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CAST({tags} AS jsonb) ->> CAST({key} AS text))"


def tag_value(tags: Any, key: str) -> ColumnElement[Any]:
    """The value of the tag `key`; NULL without it."""
    return value_of(tags, literal(display(key)))


def value_of(tags: Any, key: ColumnElement[str]) -> ColumnElement[Any]:
    """The value of the tag whose name `key` computes; NULL without it."""
    return _TagValue(tags, key)


def tagged(tags: Any, key: str, value: str) -> ColumnElement[bool]:
    """`tags` has exactly this `value` for `key`."""
    return _Tagged(tags, literal(display(key)), literal(display(value)))


class _Elements(FunctionElement[str]):
    """Argument: a JSON list. A table of its elements, with the column `value`."""

    inherit_cache = True


@compiles(_Elements, "sqlite")
def _elements_in_sqlite(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_Elements, "postgresql")
def _elements_in_postgresql(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"


def table_of(numbers: Sequence[int]) -> TableValuedAlias:
    """`numbers` as a table with the column `value`; there may be more than the limit of bound parameters."""
    return _Elements(literal(json.dumps(list(numbers)))).table_valued("value")


def among(number: ColumnElement[int], numbers: Sequence[int]) -> ColumnElement[bool]:
    """`number` is one of `numbers`; there may be more than the limit of bound parameters."""
    return number.in_(select(cast(table_of(numbers).c.value, BigInteger)))


class _AmongFound(FunctionElement[bool]):
    """Arguments: a value, a scalar subquery."""

    type = Boolean()
    inherit_cache = True


@compiles(_AmongFound, "sqlite")
def _among_found_in_sqlite(element: _AmongFound, compiler: SQLCompiler, **options: Any) -> str:
    value, query = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({value} IN {query})"


@compiles(_AmongFound, "postgresql")
def _among_found_in_postgresql(element: _AmongFound, compiler: SQLCompiler, **options: Any) -> str:
    value, query = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({value} = ANY (ARRAY{query}))"


def among_found(value: Any, query: Select[Any]) -> ColumnElement[bool]:
    """`value` is among the few that `query` finds, which runs first.

    Beside as many joins as the types of operations take, PostgreSQL reads whole tables before it looks into `IN`.
    """
    return _AmongFound(value, query.scalar_subquery())


def starting(text: ColumnElement[str] | InstrumentedAttribute[Any], prefix: str) -> ColumnElement[bool]:
    """`text` starts with `prefix`, respecting case: a range condition, so that an index is used."""
    shown = display(prefix)
    following = _following(shown)
    return and_(text >= shown, text < following) if following is not None else text >= shown


def _following(prefix: str) -> str | None:
    """The smallest text, by code points, that is greater than every text starting with `prefix`."""
    for end in range(len(prefix), 0, -1):
        code = ord(prefix[end - 1])
        if code < 0x10FFFF:
            # Skip the surrogates, which no database accepts.
            return prefix[: end - 1] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


def named(text: Any, raw: Any, name: str) -> ColumnElement[bool]:
    """The columns `text` and `raw` together hold exactly `name`."""
    exact = exact_bytes(name)
    return and_(text == name, raw.is_(None) if exact is None else raw == exact)


class _Clock(FunctionElement[datetime]):
    type = UTCDateTime()
    inherit_cache = True


@compiles(_Clock, "sqlite")
def _clock_in_sqlite(_element: _Clock, _compiler: SQLCompiler, **_options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(_Clock, "postgresql")
def _clock_in_postgresql(_element: _Clock, _compiler: SQLCompiler, **_options: Any) -> str:
    return "clock_timestamp()"


def clock() -> ColumnElement[datetime]:
    """The current time of the database's clock, which all clients share."""
    return _Clock()
