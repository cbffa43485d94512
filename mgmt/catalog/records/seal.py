"""Seals: the hash chain of the audit trail (catalog/audit/seals.py)."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.base import Base, now
from mgmt.catalog.records.types import BigId


class SealRecord(Base, kw_only=True, eq=False):
    """One seal: a list of finished operations, chained to the seal before."""

    __tablename__ = "seals"

    sequence: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    sealed_at: Mapped[datetime] = mapped_column(default_factory=now)
    operations: Mapped[str]
    """JSON: `seq`, id and sha256 of each operation."""
    previous: Mapped[bytes | None]
    """The digest of the previous seal; None for the first."""
    digest: Mapped[bytes]
    """The sha256 of this row."""
