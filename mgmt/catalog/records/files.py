"""Records of files: originals, archives in a store, and completed copies. Sizes are bytes, times are aware UTC."""

import mimetypes
import os
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, validates

from mgmt.catalog.records.base import Base, now, only_where
from mgmt.catalog.records.enums import FileStatus, Location, Place
from mgmt.catalog.records.types import BigId, display
from mgmt.errors import ConfigurationError


class FileRecord(Base, kw_only=True, eq=False):
    """A file or folder: an original, an archive in a store, or an original that was moved to completed/.

    For an archive `path` is its key, `name` the last part of that, `size` the bytes of the object; the record has
    everything that is needed to restore it.
    """

    __tablename__ = "files"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, init=False)
    name: Mapped[str] = mapped_column(default="", index=True)
    """The last part of `path`, unless given."""
    name_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    path: Mapped[str] = mapped_column(index=True)
    path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    location: Mapped[Location]
    host: Mapped[str | None] = mapped_column(default=None)
    """The host; None for an archive."""
    store: Mapped[str | None] = mapped_column(default=None)
    """The URL of an archive's store; None for a local file."""
    size: Mapped[int | None] = mapped_column(BigId, default=None)
    is_directory: Mapped[bool] = mapped_column(default=False)
    mime_type: Mapped[str | None] = mapped_column(default=None)
    """Guessed from the name, unless given."""
    created_at: Mapped[datetime | None] = mapped_column(default=None)
    modified_at: Mapped[datetime | None] = mapped_column(default=None)
    accessed_at: Mapped[datetime | None] = mapped_column(default=None)
    checksum: Mapped[str | None] = mapped_column(default=None)
    tags: Mapped[dict[str, str]] = mapped_column(default_factory=dict)
    status: Mapped[FileStatus] = mapped_column(default=FileStatus.PENDING, index=True)
    error_message: Mapped[str | None] = mapped_column(default=None)

    s3_bucket: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None, index=True)
    storage_class: Mapped[str | None] = mapped_column(default=None)
    etag: Mapped[str | None] = mapped_column(default=None)
    object_checksum: Mapped[str | None] = mapped_column(default=None)
    """The checksum that the store should report: "crc64nvme:...", or alternatives separated by spaces."""
    index_key: Mapped[str | None] = mapped_column(default=None)
    archive_id: Mapped[str | None] = mapped_column(default=None)
    """Of an archive: the id in the object's own metadata, which no other object has (docs/catalog.md). None if an older
    mgmt recorded it, and it was not verified since."""
    digest: Mapped[str | None] = mapped_column(default=None, index=True)
    """The portable identity of what was archived (docs/format.md)."""
    kept: Mapped[str | None] = mapped_column(default=None)
    """What else of the content was kept: owners, extended attributes; "" for neither. None if that is unknown."""
    original_size: Mapped[int | None] = mapped_column(BigId, default=None)
    member_count: Mapped[int | None] = mapped_column(BigId, default=None)
    proof: Mapped[str | None] = mapped_column(default=None)
    proven_at: Mapped[datetime | None] = mapped_column(default=None)
    version_id: Mapped[str | None] = mapped_column(default=None)
    """Of an archive in a versioned bucket: which version of its object it is."""
    stored_at: Mapped[datetime | None] = mapped_column(default=None)
    """Of an archive: since when it is in its storage class, as far as is known."""
    lock_mode: Mapped[str | None] = mapped_column(default=None)
    locked_until: Mapped[datetime | None] = mapped_column(default=None)
    """The store prevents its removal before then."""
    legal_hold: Mapped[bool | None] = mapped_column(default=None)
    operation_id: Mapped[str | None] = mapped_column(ForeignKey("operations.operation_id"), default=None, index=True)
    """The upload that made the archive, or the completed copy."""
    recorded_at: Mapped[datetime] = mapped_column(init=False, default_factory=now)

    __table_args__ = (
        CheckConstraint("(location = 's3') = (store IS NOT NULL)", name="store"),
        CheckConstraint("(location = 's3') = (host IS NULL)", name="host"),
        # NULLs differ from one another, so one constraint over all of these columns would hold nothing.
        Index(None, "host", "location", "path", unique=True, **only_where("path_bytes IS NULL")),
        Index(None, "host", "location", "path_bytes", unique=True, **only_where("path_bytes IS NOT NULL")),
        # A key is used again when its archive was deleted; what is deleted stays, and is another archive.
        Index(None, "store", "path", unique=True, **only_where("store IS NOT NULL AND status <> 'deleted'")),
        Index(None, "location", "path"),
        # What costs are made of, in the order of their groups: a million archives are summed up without reading a row.
        Index(
            "ix_files_storage_class",
            *("storage_class", "size", "member_count", "stored_at", "recorded_at", "store", "status"),
            **only_where("store IS NOT NULL AND status <> 'deleted'"),
        ),
    )

    def __post_init__(self) -> None:
        self.name = self.name or os.path.basename(self.path)
        self.mime_type = self.mime_type or (None if self.is_directory else mimetypes.guess_type(self.name)[0])

    @validates("tags")
    def _display(self, _: str, tags: Mapping[str, str]) -> dict[str, str]:
        """Escape bytes that are not UTF-8: PostgreSQL could not search any tags otherwise."""
        if not isinstance(tags, Mapping) or not all(isinstance(each, str) for pair in tags.items() for each in pair):
            raise ConfigurationError(f"FileRecord.tags must be texts by name, not {tags!r}")
        return {display(key): display(value) for key, value in tags.items()}

    @property
    def place(self) -> Place:
        """What identifies this record; deleted archives keep their place."""
        return Place(self.location, self.store or self.host or "", self.path)
