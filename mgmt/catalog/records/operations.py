# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""The base class of operations, and the rules for how one finishes."""

import json
import os
import uuid
from datetime import datetime
from functools import wraps
from importlib import import_module
from typing import Any, ClassVar

from sqlalchemy import Connection, ForeignKey, Identity, Index, event, func, inspect, select
from sqlalchemy.orm import (
    Mapped,
    MappedAsDataclass,
    Mapper,
    configure_mappers,
    mapped_column,
    object_session,
    relationship,
)
from sqlalchemy.orm.attributes import set_attribute

from mgmt.catalog.records.base import Base, now, only_where
from mgmt.catalog.records.enums import LIVE_SQL, Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.process import Owner
from mgmt.catalog.records.types import BigId
from mgmt.errors import CatalogError, ConfigurationError

UPLOAD = "upload"
"""The type of the operation that archives an original."""

_LIVE_CLAIM = f"claim IS NOT NULL AND status IN {LIVE_SQL}"


class OperationRecord(Base, kw_only=True, eq=False):
    """One action of mgmt on one target, requested or done."""

    __tablename__ = "operations"
    __mapper_args__ = {"polymorphic_on": "operation_type", "polymorphic_abstract": True}

    operation_id: Mapped[str] = mapped_column(primary_key=True, default_factory=lambda: str(uuid.uuid4()))
    operation_type: Mapped[str] = mapped_column(init=False)
    target_path: Mapped[str | None] = mapped_column(default=None, index=True)
    target_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    target_name: Mapped[str | None] = mapped_column(default=None, index=True)
    """The last part of `target_path`, unless given."""
    target_name_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    started_at: Mapped[datetime] = mapped_column(default_factory=now, index=True)
    completed_at: Mapped[datetime | None] = mapped_column(default=None)
    status: Mapped[Status] = mapped_column(default=Status.PENDING, active_history=True)
    result_path: Mapped[str | None] = mapped_column(default=None)
    result_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    error_message: Mapped[str | None] = mapped_column(default=None)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", default_factory=dict)
    """Values without a column. Constructors also accept `metadata`, an attribute name that SQLAlchemy reserves."""
    user: Mapped[str | None] = mapped_column(default=None)
    command_args: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)

    seq: Mapped[int] = mapped_column(BigId, Identity(), unique=True, init=False)
    """The order of operations, independent of clocks."""
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("operations.operation_id"), default=None, index=True)
    """The batch that it belongs to."""
    stage: Mapped[str | None] = mapped_column(default=None)
    """The progress of a running operation; its service defines the stages."""
    claim: Mapped[str | None] = mapped_column(init=False, default=None)
    """The resource that no other live operation may hold."""
    owner: Mapped[str | None] = mapped_column(init=False, default=None)
    """The process that runs it: host/boot/pid/start."""
    heard_at: Mapped[datetime | None] = mapped_column(init=False, default=None)
    """Time of the last heartbeat by the database's clock (heartbeat.py); None once it has finished."""
    host: Mapped[str | None] = mapped_column(default=None)
    mgmt_version: Mapped[str | None] = mapped_column(init=False, default=None)
    retry_of: Mapped[str | None] = mapped_column(default=None, index=True)
    """The operation whose work this one does again."""
    cancel_requested_by: Mapped[str | None] = mapped_column(init=False, default=None)
    """The user who has asked it to stop."""
    done_bytes: Mapped[int | None] = mapped_column(BigId, init=False, default=None)
    """How far it is, as of its last heartbeat; None once it has finished."""
    total_bytes: Mapped[int | None] = mapped_column(BigId, init=False, default=None)
    bytes_per_second: Mapped[int | None] = mapped_column(BigId, init=False, default=None)
    sha256: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    """The hash of the whole record (canonical.py); None until it has finished."""
    seal: Mapped[int | None] = mapped_column(BigId, init=False, repr=False, default=None)
    """The seal that lists it; None until it is sealed."""

    computed: ClassVar[tuple[str, ...]] = ("duration_seconds",)
    shown_as: ClassVar[dict[str, str]] = {"details": "metadata"}

    __table_args__ = (
        Index(None, "seal"),
        Index(
            "uq_operations_claim",
            "claim",
            unique=True,
            **only_where(_LIVE_CLAIM),
        ),
        Index(None, "operation_type", "seq"),
        Index(None, "status", "seq"),
        Index(None, "user", "seq"),
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        constructor = cls.__init__

        @wraps(constructor)
        def construct(self: "OperationRecord", **facts: Any) -> None:
            if "metadata" in facts:
                facts["details"] = facts.pop("metadata")
            for name in ("details", "command_args"):
                _require_values(f"{cls.__name__}.{name}", facts.get(name, {}))
            constructor(self, **facts)

        cls.__init__ = construct  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        if self.target_name is None and self.target_path is not None:
            self.target_name = os.path.basename(self.target_path)

    @property
    def duration_seconds(self) -> float | None:
        """Wall-clock duration; 0 if the clock was set back meanwhile, None while it runs."""
        if self.completed_at is None:
            return None
        return max(0.0, (self.completed_at - self.started_at).total_seconds())

    @property
    def runs_on(self) -> str | None:
        """The host and process that run it; None once it has finished."""
        if self.owner is None or self.status.is_terminal:
            return None
        owner = Owner.parse(self.owner)
        return f"{owner.host}, process {owner.pid}"

    @property
    def seconds_left(self) -> float | None:
        """An estimate of when it will have ended; None if its size or rate is not known."""
        if not self.bytes_per_second or self.total_bytes is None or self.done_bytes is None:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.bytes_per_second

    @property
    def is_known(self) -> bool:
        """Whether this mgmt knows its type. It loads another one with the columns of `operations` alone."""
        return type(self) is not OperationRecord

    @property
    def is_recorded(self) -> bool:
        """Whether it is stored in the catalog. False if the catalog could not be written."""
        return bool(inspect(self).persistent)


class _Types(dict[Any, Mapper[Any]]):
    """The class of each type of operation. Another program may have written one of a type that has none."""

    def __missing__(self, operation_type: object) -> Mapper[Any]:
        # No record comes as less than it is because nothing has mapped its type yet.
        import_module("mgmt.catalog.records.operation_types")
        configure_mappers()
        return self.get(operation_type, OperationRecord.__mapper__)

    def __bool__(self) -> bool:
        return True  # with an empty one, SQLAlchemy would not look for types


OperationRecord.__mapper__.polymorphic_map = _Types()


def _require_values(name: str, values: object) -> None:
    """Raise ConfigurationError unless these are values by name that JSON can hold."""
    try:
        if isinstance(values, dict):
            json.dumps(values)
            return
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} must be values that JSON can hold: {error}") from error
    raise ConfigurationError(f"{name} must be values by name, not {values!r}")


class OwnTable(MappedAsDataclass, kw_only=True):
    """Mixin for an operation type with a table of its own: the key that the table shares with `operations`."""

    operation_id: Mapped[str] = mapped_column(
        ForeignKey("operations.operation_id"), primary_key=True, default_factory=lambda: str(uuid.uuid4())
    )


class OperationFile(Base, kw_only=True, eq=False):
    """A file that an operation touched, and its role."""

    __tablename__ = "operation_files"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.operation_id"), primary_key=True, init=False)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id"), primary_key=True, init=False, index=True)
    role: Mapped[Role] = mapped_column(primary_key=True)
    operation: Mapped[OperationRecord] = relationship()
    file: Mapped[FileRecord] = relationship()


operations = Base.metadata.tables["operations"]
"""The base table alone. A query of the class joins the sub-tables, and PostgreSQL cannot lock rows of such a join."""


MOST_SEQ = (1 << 63) - 1
"""The greatest number that fits in a column."""


@event.listens_for(OperationRecord, "before_insert", propagate=True)
def _assign_seq(_mapper: Mapper[Any], connection: Connection, operation: OperationRecord) -> None:
    """Assign `seq` on SQLite, which has a single writer. PostgreSQL has an identity column."""
    _set_end(operation)
    if connection.dialect.name == "sqlite":
        # Another program may have written a text, which is greater than any number, or the greatest number.
        numbers = select(func.max(operations.c.seq)).where(operations.c.seq < MOST_SEQ).scalar_subquery()
        following = select(func.coalesce(numbers, 0) + 1).scalar_subquery()
        set_attribute(operation, "seq", following)


@event.listens_for(OperationRecord, "before_update", propagate=True)
def _refuse_to_change_finished(_mapper: Mapper[Any], _connection: Connection, operation: OperationRecord) -> None:
    before = inspect(operation).attrs.status.history
    was = next(iter(before.deleted or before.unchanged))
    session = object_session(operation)
    if was.is_terminal and session is not None and session.is_modified(operation):
        raise CatalogError(
            f"{operation.operation_type} {operation.operation_id} has finished; its record cannot be changed"
        )
    _set_end(operation)


def _set_end(operation: OperationRecord) -> None:
    if operation.status.is_terminal:
        operation.completed_at = operation.completed_at or now()
        operation.heard_at = operation.done_bytes = operation.total_bytes = operation.bytes_per_second = None
