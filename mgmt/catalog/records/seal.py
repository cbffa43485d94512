"""A seal: a link of the chain that the audit trail is (catalog/audit/seals.py)."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.base import Base, now
from mgmt.catalog.records.types import BigId


class SealRecord(Base, kw_only=True, eq=False):
    """Operations that have ended, written down in a chain: see seals.py."""

    __tablename__ = "seals"

    sequence: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    sealed_at: Mapped[datetime] = mapped_column(default_factory=now)
    operations: Mapped[str]
    """JSON: the number, the id and the sha256 of each."""
    previous: Mapped[bytes | None]
    """The digest of the seal before; None for the first."""
    digest: Mapped[bytes]
    """The sha256 of all of this."""
