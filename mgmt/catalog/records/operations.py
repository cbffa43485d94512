# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""What mgmt did, or was asked to do: the base of all operations, and how one ends."""

import os
import uuid
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar

from sqlalchemy import Connection, ForeignKey, Identity, Index, event, func, inspect, select
from sqlalchemy.orm import Mapped, MappedAsDataclass, Mapper, mapped_column, object_session, relationship
from sqlalchemy.orm.attributes import set_attribute

from mgmt.catalog.records.base import Base, now, only_where
from mgmt.catalog.records.enums import Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.process import Owner
from mgmt.catalog.records.types import BigId
from mgmt.errors import CatalogError

_LIVE_CLAIM = "claim IS NOT NULL AND status IN ('pending', 'running')"


class OperationRecord(Base, kw_only=True, eq=False):
    """One thing that mgmt did, or was asked to do, to one target."""

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
    """Facts without a column of their own. Constructors also take them as `metadata`, a name that SQLAlchemy reserves
    for itself on the class."""
    user: Mapped[str | None] = mapped_column(default=None)
    command_args: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)

    seq: Mapped[int] = mapped_column(BigId, Identity(), unique=True, init=False)
    """The order of operations, which no clock can change."""
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("operations.operation_id"), default=None, index=True)
    """The batch that it is part of."""
    stage: Mapped[str | None] = mapped_column(default=None)
    """How far a running operation has come; its service says what the words mean."""
    claim: Mapped[str | None] = mapped_column(init=False, default=None)
    """What no other live operation may have."""
    owner: Mapped[str | None] = mapped_column(init=False, default=None)
    """The process that runs it: host/boot/pid/start."""
    heard_at: Mapped[datetime | None] = mapped_column(init=False, default=None)
    """When its process last said that it is at work, by the database's clock (heartbeat.py); None once it has ended."""
    host: Mapped[str | None] = mapped_column(default=None)
    mgmt_version: Mapped[str | None] = mapped_column(init=False, default=None)
    sha256: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    """Of all that is recorded of it (canonical.py), from the moment that it has ended."""
    seal: Mapped[int | None] = mapped_column(BigId, init=False, repr=False, default=None)
    """The seal that it is part of; None until there is one."""

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
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        constructor = cls.__init__

        @wraps(constructor)
        def construct(self: "OperationRecord", **facts: Any) -> None:
            if "metadata" in facts:
                facts["details"] = facts.pop("metadata")
            constructor(self, **facts)

        cls.__init__ = construct  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        if self.target_name is None and self.target_path is not None:
            self.target_name = os.path.basename(self.target_path)

    @property
    def duration_seconds(self) -> float | None:
        """From beginning to end, by the wall clock: 0 if that was set back meanwhile. None while it runs."""
        if self.completed_at is None:
            return None
        return max(0.0, (self.completed_at - self.started_at).total_seconds())

    @property
    def runs_on(self) -> str | None:
        """The machine and the process that is at work on it, as far as is known; None once it has ended."""
        if self.owner is None or self.status.is_terminal:
            return None
        owner = Owner.parse(self.owner)
        return f"{owner.host}, process {owner.pid}"

    @property
    def is_recorded(self) -> bool:
        """The catalog has it. False for what ran on a catalog that could not be written."""
        return bool(inspect(self).persistent)


class OwnTable(MappedAsDataclass, kw_only=True):
    """The key of a type of operation that has facts, and so a table, of its own."""

    operation_id: Mapped[str] = mapped_column(
        ForeignKey("operations.operation_id"), primary_key=True, default_factory=lambda: str(uuid.uuid4())
    )


class OperationFile(Base, kw_only=True, eq=False):
    """That an operation touched a file, and what the file was to it."""

    __tablename__ = "operation_files"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.operation_id"), primary_key=True, init=False)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id"), primary_key=True, init=False, index=True)
    role: Mapped[Role] = mapped_column(primary_key=True)
    operation: Mapped[OperationRecord] = relationship()
    file: Mapped[FileRecord] = relationship()


operations = Base.metadata.tables["operations"]
"""Its rows alone: a query of the class joins the tables of the types, and PostgreSQL locks no row of such a join."""


@event.listens_for(OperationRecord, "before_insert", propagate=True)
def _number(_mapper: Mapper[Any], connection: Connection, operation: OperationRecord) -> None:
    """PostgreSQL counts by itself; on SQLite there is one writer at a time, so the next number is the next."""
    _end(operation)
    if connection.dialect.name == "sqlite":
        following = select(func.coalesce(func.max(OperationRecord.seq), 0) + 1).scalar_subquery()
        set_attribute(operation, "seq", following)


@event.listens_for(OperationRecord, "before_update", propagate=True)
def _keep_what_ended(_mapper: Mapper[Any], _connection: Connection, operation: OperationRecord) -> None:
    before = inspect(operation).attrs.status.history
    was = next(iter(before.deleted or before.unchanged))
    session = object_session(operation)
    if was.is_terminal and session is not None and session.is_modified(operation):
        raise CatalogError(
            f"{operation.operation_type} {operation.operation_id} has ended: its record cannot be changed"
        )
    _end(operation)


def _end(operation: OperationRecord) -> None:
    if operation.status.is_terminal:
        operation.completed_at = operation.completed_at or now()
        operation.heard_at = None
