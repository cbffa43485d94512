# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""Operations that look at what is there: searches, verifications, status."""

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.enums import Scope
from mgmt.catalog.records.operations import OperationRecord, OwnTable
from mgmt.catalog.records.types import BigId


class SearchRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """A search, and what came of it. Finding nothing is a success."""

    __tablename__ = "searches"
    __mapper_args__ = {"polymorphic_identity": "search", "polymorphic_load": "inline"}

    keyword: Mapped[str]
    keyword_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    location: Mapped[Scope] = mapped_column(default=Scope.GLOBAL)
    local_matches: Mapped[int] = mapped_column(BigId, default=0)
    s3_matches: Mapped[int] = mapped_column(BigId, default=0)
    total_matches: Mapped[int] = mapped_column(BigId, default=0)
    download_selected: Mapped[bool] = mapped_column(default=False)
    status_checked: Mapped[bool] = mapped_column(default=False)


class VerifyRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """Archives that were proven again, or not."""

    __tablename__ = "verifications"
    __mapper_args__ = {"polymorphic_identity": "verify", "polymorphic_load": "inline"}

    store: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None, index=True)
    proof: Mapped[str | None] = mapped_column(default=None)
    checked_objects: Mapped[int] = mapped_column(BigId, default=0)
    checked_size: Mapped[int] = mapped_column(BigId, default=0)
    problems_found: Mapped[int] = mapped_column(BigId, default=0)


class StatusRecord(OperationRecord, kw_only=True, eq=False):
    """A look at one file or operation."""

    __mapper_args__ = {"polymorphic_identity": "status"}
