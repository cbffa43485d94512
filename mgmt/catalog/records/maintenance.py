# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""Operations that keep house: deletions, freed copies, settings, batches, recoveries, rebuilds, prunes."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.operations import OperationRecord, OwnTable
from mgmt.catalog.records.types import BigId

PRUNE = "prune"
"""The type of operation that removes others from the catalog."""


class DeleteRecord(OperationRecord, kw_only=True, eq=False):
    """An archive that was removed from its store."""

    __mapper_args__ = {"polymorphic_identity": "delete"}


class FreeRecord(OperationRecord, kw_only=True, eq=False):
    """A completed copy that was removed to get its space back; `result_path` is the name under which it is removed."""

    __mapper_args__ = {"polymorphic_identity": "free"}


class ConfigRecord(OperationRecord, kw_only=True, eq=False):
    """A setting that was changed."""

    __mapper_args__ = {"polymorphic_identity": "config"}


class BatchRecord(OperationRecord, kw_only=True, eq=False):
    """Several targets in one go: the parent of an operation for each."""

    __mapper_args__ = {"polymorphic_identity": "batch"}


class RecoverRecord(OperationRecord, kw_only=True, eq=False):
    """Interrupted operations that were settled."""

    __mapper_args__ = {"polymorphic_identity": "recover"}


class RebuildRecord(OperationRecord, kw_only=True, eq=False):
    """The catalog, rebuilt from the indexes of a store."""

    __mapper_args__ = {"polymorphic_identity": "rebuild"}


class PruneRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """Operations that were exported to `result_path`, and removed from the catalog."""

    __tablename__ = "prunes"
    __mapper_args__ = {"polymorphic_identity": PRUNE, "polymorphic_load": "inline"}

    ended_before: Mapped[datetime]
    """What had ended by then was to go."""
    removed_count: Mapped[int] = mapped_column(BigId, default=0)
    removed: Mapped[str] = mapped_column(default="")
    """Their numbers, as `1-5,7`: what the seals list and is not here is looked for in it."""
    export_size: Mapped[int | None] = mapped_column(BigId, default=None)
    export_sha256: Mapped[str | None] = mapped_column(default=None)
    """Of the export's bytes, as `sha256sum` gives it."""
