# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""Maintenance operations: delete, free, config, batch, recover, rebuild, ignore, undo, prune."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.operations import OperationRecord, OwnTable
from mgmt.catalog.records.types import BigId

PRUNE = "prune"
"""The type of the operation that removes other operations from the catalog."""

IGNORE = "ignore"
"""The type of the operation that says which objects are not mgmt's. The list is made of them, so they are kept."""


class DeleteRecord(OperationRecord, kw_only=True, eq=False):
    """Removal of an archive from its store."""

    __mapper_args__ = {"polymorphic_identity": "delete"}


class FreeRecord(OperationRecord, kw_only=True, eq=False):
    """Removal of a completed copy to free disk space; `result_path` is its temporary name during the removal."""

    __mapper_args__ = {"polymorphic_identity": "free"}


class ConfigRecord(OperationRecord, kw_only=True, eq=False):
    """Change of a setting."""

    __mapper_args__ = {"polymorphic_identity": "config"}


class BatchRecord(OperationRecord, kw_only=True, eq=False):
    """One command with several targets: the parent of one operation per target."""

    __mapper_args__ = {"polymorphic_identity": "batch"}


class RecoverRecord(OperationRecord, kw_only=True, eq=False):
    """Recovery of interrupted operations."""

    __mapper_args__ = {"polymorphic_identity": "recover"}


class RebuildRecord(OperationRecord, kw_only=True, eq=False):
    """Rebuild of the catalog from the indexes in a store."""

    __mapper_args__ = {"polymorphic_identity": "rebuild"}


class IgnoreRecord(OperationRecord, kw_only=True, eq=False):
    """An object of the store at `target_path` is not mgmt's; `details["ignored"]` is false when that is undone."""

    __mapper_args__ = {"polymorphic_identity": IGNORE}


class UndoRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """What an earlier operation did was taken back."""

    __tablename__ = "undos"
    __mapper_args__ = {"polymorphic_identity": "undo", "polymorphic_load": "inline"}

    undo_of: Mapped[str] = mapped_column(index=True)
    """The operation that was undone."""


class PruneRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """Removal of old operations from the catalog, after their export to `result_path`."""

    __tablename__ = "prunes"
    __mapper_args__ = {"polymorphic_identity": PRUNE, "polymorphic_load": "inline"}

    ended_before: Mapped[datetime]
    """Operations that had finished by then were pruned."""
    removed_count: Mapped[int] = mapped_column(BigId, default=0)
    removed: Mapped[str] = mapped_column(default="")
    """The `seq` of each, as ranges: `1-5,7`. `mgmt audit verify` accepts their absence."""
    export_size: Mapped[int | None] = mapped_column(BigId, default=None)
    export_sha256: Mapped[str | None] = mapped_column(default=None)
    """The sha256 of the export file, as `sha256sum` prints it."""
