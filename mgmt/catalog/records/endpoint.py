"""What is remembered of an S3 endpoint."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.base import Base, now


class EndpointRecord(Base, kw_only=True, eq=False):
    """What an endpoint was seen to do, so that it is probed once."""

    __tablename__ = "endpoints"

    url: Mapped[str] = mapped_column(primary_key=True)
    checksum: Mapped[str | None]
    """The checksum whose mismatch it was seen to refuse; None when it refuses none."""
    max_parts: Mapped[int]
    probed_at: Mapped[datetime] = mapped_column(default_factory=now)
