"""Column types for times, names and enums that behave the same on SQLite and PostgreSQL."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import (
    TEXT,
    BigInteger,
    Boolean,
    ClauseElement,
    DateTime,
    Dialect,
    Enum,
    Integer,
    Text,
    TypeDecorator,
    event,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import ColumnProperty, InstanceState, Mapper, QueryableAttribute, attributes
from sqlalchemy.types import TypeEngine

from mgmt.catalog.records.enums import one_of
from mgmt.errors import ConfigurationError

BigId = BigInteger().with_variant(Integer, "sqlite")
"""A surrogate key. SQLite generates keys only for the type INTEGER."""


UNREADABLE = datetime.min.replace(tzinfo=UTC)
"""Stands for a time that another program has written, and that is none. SQLite stores any text."""


class _SQLiteDateTime(sqlite.DATETIME):
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """Read a time; UNREADABLE for any other text, so that one row does not hide all others."""
        parse: Any = super().result_processor(dialect, coltype)

        def read(value: Any) -> datetime | None:
            try:
                found: datetime | None = parse(value)
            except (ValueError, TypeError):
                return UNREADABLE
            return found

        return read


class JsonObject(MutableDict[str, Any]):
    """A JSON object whose changes are noticed. Another program may have written other JSON: it is kept below a key."""

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        """Any value as an object."""
        if isinstance(value, (dict, MutableDict)) or value is None:
            return super().coerce(key, value)
        return cls({UNREADABLE_KEY: value})


UNREADABLE_KEY = "unreadable"


def read_json(text: str | bytes) -> Any:
    """Parse JSON; what is none is kept below a key, as in canonical.py, so that one row does not hide all others."""
    try:
        return json.loads(text)
    except ValueError:
        return {UNREADABLE_KEY: text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")}


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime, returned in UTC, with microseconds. A naive datetime is taken as local time.

    PostgreSQL uses `timestamptz`. SQLite stores text of fixed width in UTC, so that text order is time order.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """`timestamptz` on PostgreSQL, text on SQLite."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SQLiteDateTime())  # type: ignore[no-untyped-call]
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; SQLite stores no time zone."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def enum_type(enum: type[StrEnum], name: str) -> Enum:
    """A column type for the values of `enum`: short text with the CHECK constraint `name`."""
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda e: [m.value for m in e],
    )


def display(name: str) -> str:
    r"""`name` as valid UTF-8: bytes that are not UTF-8 (lone surrogates in Python) become `\xff`."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def exact_bytes(name: str) -> bytes | None:
    """The bytes of `name` if they are not UTF-8; None if `display(name)` is exact."""
    if name.isascii():
        return None
    raw = name.encode("utf-8", "surrogateescape")
    return raw if raw.decode("utf-8", "replace") != name else None


def exact(text: str, raw: bytes | None) -> str:
    """The inverse of `display` and `exact_bytes`: the name that both were made from."""
    return text if raw is None else raw.decode("utf-8", "surrogateescape")


class SafeText(TypeDecorator[str]):
    """Text that may be or quote a file name. The column stores its display text.

    Where the exact name matters, a second column stores the bytes of a name that is not UTF-8 (`path_bytes` for
    `path`; NULL for nearly every row). `keep_names_exact` writes and reads it, so that in Python the attribute is
    always the exact name, with surrogateescape.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Sort by code point, as SQLite does, so that ranges and pages are the same on both databases."""
        return TEXT(collation="C") if dialect.name == "postgresql" else dialect.type_descriptor(Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Store the display text."""
        return None if value is None else display(value)


@cache
def _names(mapper: Mapper[Any]) -> list[str]:
    texts = (each.key for each in mapper.column_attrs if isinstance(each.columns[0].type, SafeText))
    return [key for key in texts if f"{key}_bytes" in mapper.attrs]


def keep_names_exact(base: type[Any]) -> None:
    """Store and restore the exact bytes of names in all subclasses of `base`."""

    def write(mapper: Mapper[Any], _connection: Any, record: Any) -> None:
        known = attributes.instance_dict(record)
        for key in _names(mapper):
            if key in known:
                value = known[key]
                setattr(record, f"{key}_bytes", None if value is None else exact_bytes(value))

    def read(record: Any, *_: Any) -> None:
        state: InstanceState[Any] = attributes.instance_state(record)
        for key in _names(state.mapper):
            if (raw := state.dict.get(f"{key}_bytes")) is not None and key in state.dict:
                attributes.set_committed_value(record, key, exact("", raw))

    event.listen(base, "before_insert", write, propagate=True)
    event.listen(base, "before_update", write, propagate=True)
    event.listen(base, "load", read, propagate=True)
    event.listen(base, "refresh", read, propagate=True)


def take_plain_values(base: type[Any]) -> None:
    """Let attributes of the classes below `base` take words as plain text, and naive times, which are local.

    A value of any other type than that of the column raises ConfigurationError: SQLite would store it.
    """

    def instrumented(_class: type[Any], _key: str, attribute: QueryableAttribute[Any]) -> None:
        if isinstance(attribute.property, ColumnProperty):
            column = attribute.property.columns[0]
            if isinstance(column.type, Enum) and column.type.enum_class is not None:
                event.listen(attribute, "set", partial(_as_word, column.type.enum_class), retval=True)
            elif isinstance(column.type, UTCDateTime):
                event.listen(attribute, "set", _as_utc, retval=True)
            for kind, wanted, words in _WANTED:
                if isinstance(column.type, kind):
                    rule = _Rule(f"{_class.__name__}.{_key}", wanted, words, nullable=bool(column.nullable))
                    event.listen(attribute, "set", partial(_check, rule))

    event.listen(base, "attribute_instrument", instrumented, propagate=True)


_WANTED: tuple[tuple[type, type, str], ...] = (
    (Enum, str, "a word"),
    (SafeText, str, "text"),
    (UTCDateTime, datetime, "a datetime"),
    (Boolean, bool, "True or False"),
    (Integer, int, "a whole number of 64 bits"),
)


class _Rule(NamedTuple):
    name: str
    wanted: type
    words: str
    nullable: bool


def _check(rule: _Rule, _record: object, value: object, *_: object) -> None:
    if isinstance(value, rule.wanted) and not (rule.wanted is int and isinstance(value, bool)):
        if not isinstance(value, int) or -(2**63) <= value < 2**63:
            return
    elif isinstance(value, ClauseElement) or (value is None and rule.nullable):
        return
    raise ConfigurationError(f"{rule.name} must be {rule.words}, not {value!r}")


def _as_word(enum: type[Any], _record: object, value: object, *_: object) -> object:
    return one_of(enum, value) if isinstance(value, str) else value


def _as_utc(_record: object, value: object, *_: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
