"""The base class of all records."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, MetaData, text
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass

from mgmt.catalog.records.enums import FileStatus, Location, Role, Scope, Status
from mgmt.catalog.records.types import JsonObject, SafeText, UTCDateTime, enum_type, keep_names_exact, take_plain_values


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def only_where(condition: str) -> dict[str, Any]:
    """The keyword arguments of a partial index; metadata.py adds that for PostgreSQL."""
    return {"sqlite_where": text(condition)}


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True, eq=False):
    """Base of all records. Constraints are named, because Alembic cannot change unnamed ones on SQLite."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        str: SafeText,
        datetime: UTCDateTime,
        Status: enum_type(Status, "status"),
        FileStatus: enum_type(FileStatus, "status"),
        Location: enum_type(Location, "location"),
        Scope: enum_type(Scope, "location"),
        Role: enum_type(Role, "role"),
        dict[str, Any]: JsonObject.as_mutable(JSON(none_as_null=True)),
        list[str]: MutableList.as_mutable(JSON(none_as_null=True)),
        dict[str, str]: JsonObject.as_mutable(JSON(none_as_null=True)),
    }
    computed: ClassVar[tuple[str, ...]] = ()
    """Names of computed properties, which `as_dict` includes."""
    shown_as: ClassVar[dict[str, str]] = {}
    """Names to show instead of those of attributes."""

    def as_dict(self) -> dict[str, Any]:
        """Every value by its name, computed properties included; without the exact bytes of names."""
        facts: dict[str, Any] = {}
        for attribute in self.__mapper__.column_attrs:
            if not attribute.key.endswith("_bytes"):
                facts[self.shown_as.get(attribute.key, attribute.key)] = _plain(getattr(self, attribute.key))
        return facts | {name: getattr(self, name) for name in self.computed}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, list) else value


keep_names_exact(Base)
take_plain_values(Base)
