# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""Operations that only read: searches, verifications, status."""

from sqlalchemy.orm import Mapped, mapped_column, validates

from mgmt.catalog.records.enums import Scope
from mgmt.catalog.records.operations import OperationRecord, OwnTable
from mgmt.catalog.records.types import BigId


class SearchRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """A search and its results. Finding nothing is a success.

    Until revision 0008 only the counts were recorded, and whether a result was picked: the hashes of those searches
    cover the columns of that time, so these keep their names, and what has come since has columns of its own.
    """

    __tablename__ = "searches"
    __mapper_args__ = {"polymorphic_identity": "search", "polymorphic_load": "inline"}

    keyword: Mapped[str]
    keyword_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    location: Mapped[Scope] = mapped_column(default=Scope.GLOBAL)
    local_count: Mapped[int] = mapped_column("local_matches", BigId, default=0)
    s3_count: Mapped[int] = mapped_column("s3_matches", BigId, default=0)
    total_matches: Mapped[int] = mapped_column(BigId, default=0)
    was_downloaded: Mapped[bool] = mapped_column("download_selected", init=False, default=False)
    was_checked: Mapped[bool] = mapped_column("status_checked", init=False, default=False)
    local_matches: Mapped[list[str] | None] = mapped_column("local_paths", default_factory=list)
    """The paths of local results, the first ones of them; None before revision 0008."""
    s3_matches: Mapped[list[str] | None] = mapped_column("s3_keys", default_factory=list)
    """The keys of archives that are results, or that hold one; as above."""
    download_selected: Mapped[str | None] = mapped_column("downloaded_key", default=None)
    """The key that the user picked to download."""
    status_checked: Mapped[str | None] = mapped_column("checked_key", default=None)
    """The key, or local path, that the user picked to see the status of."""

    @validates("download_selected", "status_checked")
    def _note_choice(self, name: str, key: str | None) -> str | None:
        if name == "download_selected":
            self.was_downloaded = key is not None
        else:
            self.was_checked = key is not None
        return key


class VerifyRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """A verification of one archive, or of several."""

    __tablename__ = "verifications"
    __mapper_args__ = {"polymorphic_identity": "verify", "polymorphic_load": "inline"}

    store: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None)
    proof: Mapped[str | None] = mapped_column(default=None)
    checked_objects: Mapped[int] = mapped_column(BigId, default=0)
    checked_size: Mapped[int] = mapped_column(BigId, default=0)
    problems_found: Mapped[int] = mapped_column(BigId, default=0)


class StatusRecord(OperationRecord, kw_only=True, eq=False):
    """A query for the status of one file or operation."""

    __mapper_args__ = {"polymorphic_identity": "status"}
