# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""Operations on archives that lie in a store: restore, class, undelete, lock, tag.

Money is in millionths of the currency: whole numbers, so that the catalogs agree to the digit.
"""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.operations import OperationRecord, OwnTable
from mgmt.catalog.records.types import BigId


class RestoreRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """A frozen archive is made readable for some days.

    It is `pending` until the store says that the archive can be read: nothing runs meanwhile. Then it ends as
    `success`, and the archive is readable until `expires_at`.
    """

    __tablename__ = "restores"
    __mapper_args__ = {"polymorphic_identity": "restore", "polymorphic_load": "inline"}

    store: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None, index=True)
    s3_storage_class: Mapped[str | None] = mapped_column(default=None)
    archive_id: Mapped[str | None] = mapped_column(default=None)
    """The id that the object carries: a key is used again."""
    tier: Mapped[str | None] = mapped_column(default=None)
    days: Mapped[int | None] = mapped_column(BigId, default=None)
    """How long it is to be readable."""
    requested_at: Mapped[datetime | None] = mapped_column(default=None)
    """When the store has accepted it, or was seen to be at it already; None before."""
    expected_at: Mapped[datetime | None] = mapped_column(default=None)
    ready_at: Mapped[datetime | None] = mapped_column(default=None)
    """When it was first seen to be readable."""
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
    estimated_cost_micros: Mapped[int | None] = mapped_column(BigId, default=None)
    """In millionths of the currency; None if a price is unknown."""
    currency: Mapped[str | None] = mapped_column(default=None)


class ClassRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """An archive was moved to another storage class."""

    __tablename__ = "class_changes"
    __mapper_args__ = {"polymorphic_identity": "class", "polymorphic_load": "inline"}

    store: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None)
    from_class: Mapped[str | None] = mapped_column(default=None)
    to_class: Mapped[str | None] = mapped_column(default=None)
    estimated_cost_micros: Mapped[int | None] = mapped_column(BigId, default=None)
    """As in RestoreRecord."""
    currency: Mapped[str | None] = mapped_column(default=None)


class LockRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """The store was told to keep an archive."""

    __tablename__ = "locks"
    __mapper_args__ = {"polymorphic_identity": "lock", "polymorphic_load": "inline"}

    store: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None)
    mode: Mapped[str | None] = mapped_column(default=None)
    """GOVERNANCE or COMPLIANCE; None if only the legal hold was changed."""
    retain_until: Mapped[datetime | None] = mapped_column(default=None)
    legal_hold: Mapped[bool | None] = mapped_column(default=None)
    """Whether it has a legal hold from then on; None if that was not changed."""


class UndeleteRecord(OperationRecord, kw_only=True, eq=False):
    """A deleted archive was brought back from the older versions in its bucket."""

    __mapper_args__ = {"polymorphic_identity": "undelete"}


class TagRecord(OperationRecord, kw_only=True, eq=False):
    """The tags of an archive were changed; `details` has those `before` and `after`."""

    __mapper_args__ = {"polymorphic_identity": "tag"}
