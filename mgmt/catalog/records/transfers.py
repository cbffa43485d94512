# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""Uploads and downloads."""

from typing import ClassVar

from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.operations import UPLOAD, OperationRecord, OwnTable
from mgmt.catalog.records.types import BigId


class UploadRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """An original that was archived."""

    __tablename__ = "uploads"
    __mapper_args__ = {"polymorphic_identity": UPLOAD, "polymorphic_load": "inline"}

    compression_type: Mapped[str] = mapped_column(default="gzip")
    original_size: Mapped[int | None] = mapped_column(BigId, default=None)
    compressed_size: Mapped[int | None] = mapped_column(BigId, default=None)
    s3_bucket: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None)
    s3_storage_class: Mapped[str | None] = mapped_column(default=None)
    checksum_original: Mapped[str | None] = mapped_column(default=None)
    """The sha256 of a single file; the digest of a folder (docs/format.md)."""
    checksum_compressed: Mapped[str | None] = mapped_column(default=None)
    """The checksum that the store should report, as computed locally."""
    checksum_s3_etag: Mapped[str | None] = mapped_column(default=None)
    completed_dir_path: Mapped[str | None] = mapped_column(default=None)
    """Where the original is moved to, written before the move."""
    completed_dir_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    compressed_file_path: Mapped[str | None] = mapped_column(default=None)
    """A copy of the archive that was kept on disk."""
    compressed_file_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)

    store: Mapped[str | None] = mapped_column(default=None)
    index_key: Mapped[str | None] = mapped_column(default=None)
    archive_id: Mapped[str | None] = mapped_column(default=None)
    """The operation that began the archive: None for this one, else an earlier one that is resumed."""
    requested_key: Mapped[str | None] = mapped_column(default=None)
    """The key that was asked for; `s3_object_key` differs if that was taken."""
    upload_id: Mapped[str | None] = mapped_column(default=None)
    part_size: Mapped[int | None] = mapped_column(BigId, default=None)
    parts: Mapped[int | None] = mapped_column(default=None)
    proof: Mapped[str | None] = mapped_column(default=None)
    digest: Mapped[str | None] = mapped_column(default=None)
    kept: Mapped[str | None] = mapped_column(default=None)
    """What else of the content was kept, as in FileRecord."""
    source_state: Mapped[str | None] = mapped_column(default=None)
    """The stat of the original when it was read, compared again just before the original is moved."""
    root_ctime_ns: Mapped[int | None] = mapped_column(BigId, default=None)
    file_count: Mapped[int | None] = mapped_column(BigId, default=None)
    folder_count: Mapped[int | None] = mapped_column(BigId, default=None)
    link_count: Mapped[int | None] = mapped_column(BigId, default=None)
    skipped_count: Mapped[int | None] = mapped_column(BigId, default=None)

    computed: ClassVar[tuple[str, ...]] = ("duration_seconds", "compression_ratio")

    @property
    def compression_ratio(self) -> float | None:
        """Original by compressed bytes: 2.0 means that compression halved the size. None while either is unknown."""
        if self.original_size is None or not self.compressed_size:
            return None
        return self.original_size / self.compressed_size


class DownloadRecord(OwnTable, OperationRecord, kw_only=True, eq=False):
    """An archive, or a member of one, that was restored."""

    __tablename__ = "downloads"
    __mapper_args__ = {"polymorphic_identity": "download", "polymorphic_load": "inline"}

    s3_bucket: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None)
    s3_storage_class: Mapped[str | None] = mapped_column(default=None)
    local_path: Mapped[str | None] = mapped_column(default=None)
    local_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    downloaded_size: Mapped[int | None] = mapped_column(BigId, default=None)
    checksum_s3_etag: Mapped[str | None] = mapped_column(default=None)
    checksum_local: Mapped[str | None] = mapped_column(default=None)

    store: Mapped[str | None] = mapped_column(default=None)
    member: Mapped[str | None] = mapped_column(default=None)
    """The one member to restore; None for all."""
    member_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    digest: Mapped[str | None] = mapped_column(default=None)
