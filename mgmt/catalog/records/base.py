"""What all records have in common."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, MetaData, text
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass

from mgmt.catalog.records.enums import FileStatus, Location, Role, Scope, Status
from mgmt.catalog.records.types import SafeText, UTCDateTime, keep_names_exact, take_plain_values, word


def now() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC)


def only_where(condition: str) -> dict[str, Any]:
    """The arguments that make an index partial, on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True, eq=False):
    """A record. Constraints have names, or Alembic could not change them on SQLite."""

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
        Status: word(Status, "status"),
        FileStatus: word(FileStatus, "status"),
        Location: word(Location, "location"),
        Scope: word(Scope, "location"),
        Role: word(Role, "role"),
        dict[str, Any]: MutableDict.as_mutable(JSON(none_as_null=True)),
        list[str]: MutableList.as_mutable(JSON(none_as_null=True)),
        dict[str, str]: MutableDict.as_mutable(JSON(none_as_null=True)),
    }
    computed: ClassVar[tuple[str, ...]] = ()
    """Facts that are computed where they are read, and shown with the others."""
    shown_as: ClassVar[dict[str, str]] = {}
    """Names to show instead of those of attributes."""

    def as_dict(self) -> dict[str, Any]:
        """Every fact by its name, the computed ones too: what is shown of a record."""
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
