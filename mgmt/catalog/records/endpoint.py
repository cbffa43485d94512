"""Probed capabilities of S3 endpoints."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.base import Base, now


class EndpointRecord(Base, kw_only=True, eq=False):
    """The capabilities of an endpoint, stored so that it is probed only once."""

    __tablename__ = "endpoints"

    url: Mapped[str] = mapped_column(primary_key=True)
    checksum: Mapped[str | None]
    """The checksum algorithm that it verifies on upload; None if it verifies none."""
    max_parts: Mapped[int]
    probed_at: Mapped[datetime] = mapped_column(default_factory=now)
