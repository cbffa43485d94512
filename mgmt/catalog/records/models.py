# ruff: noqa: RUF012 - SQLAlchemy wants plain dicts in __mapper_args__
"""What mgmt remembers: files, and the operations done to them.

These records are the rows themselves; there is no second set of classes. Sizes are bytes, times are aware UTC.
Members of archives, of which there are millions, are plain rows (member_tables.py).
"""

import mimetypes
import os
import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, Connection, ForeignKey, Identity, Index, event, func, inspect, select
from sqlalchemy.orm import Mapped, Mapper, mapped_column, object_session, relationship
from sqlalchemy.orm.attributes import set_attribute

from mgmt.catalog.records.base import Base, now, only_where
from mgmt.catalog.records.enums import FileStatus, Location, Place, Role, Scope, Status
from mgmt.catalog.records.process import Owner
from mgmt.catalog.records.types import BigId
from mgmt.errors import CatalogError

PRUNE = "prune"
"""The type of operation that removes others from the catalog."""

_LIVE_CLAIM = "claim IS NOT NULL AND status IN ('pending', 'running')"


class FileRecord(Base, kw_only=True, eq=False):
    """A file or folder somewhere: an original, an archive in a store, or an original that moved to completed/.

    For an archive `path` is its key, `name` the last part of that, `size` the bytes of the object; the facts that are
    needed to bring it back are here, so that nobody has to be asked.
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
    """The machine; None for an archive."""
    store: Mapped[str | None] = mapped_column(default=None)
    """The URL of an archive's store; None for what is on a disk."""
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
    """What the store should say of the object: "crc64nvme:...", or alternatives separated by spaces."""
    index_key: Mapped[str | None] = mapped_column(default=None)
    archive_id: Mapped[str | None] = mapped_column(default=None)
    """Of an archive: the id that the object itself carries, which no other object has (docs/catalog.md). None where
    an older mgmt recorded it and nobody has looked at it since."""
    digest: Mapped[str | None] = mapped_column(default=None, index=True)
    """The portable identity of what was archived (docs/format.md)."""
    kept: Mapped[str | None] = mapped_column(default=None)
    """What of the content was kept besides: owners, extended attributes; "" for neither. None where that is unknown."""
    original_size: Mapped[int | None] = mapped_column(BigId, default=None)
    member_count: Mapped[int | None] = mapped_column(BigId, default=None)
    proof: Mapped[str | None] = mapped_column(default=None)
    proven_at: Mapped[datetime | None] = mapped_column(default=None)
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
    )

    def __post_init__(self) -> None:
        self.name = self.name or os.path.basename(self.path)
        self.mime_type = self.mime_type or (None if self.is_directory else mimetypes.guess_type(self.name)[0])

    @property
    def place(self) -> Place:
        """What this record is unique by; deleted archives have the place that they had."""
        return Place(self.location, self.store or self.host or "", self.path)


class OperationRecord(Base, kw_only=True, eq=False):
    """One thing that mgmt did, or was asked to do, to one target."""

    __tablename__ = "operations"
    __mapper_args__ = {"polymorphic_on": "operation_type", "polymorphic_abstract": True}

    operation_id: Mapped[str] = mapped_column(primary_key=True, default_factory=lambda: str(uuid.uuid4()))
    operation_type: Mapped[str] = mapped_column(init=False)
    target_path: Mapped[str | None] = mapped_column(default=None, index=True)
    target_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    target_name: Mapped[str | None] = mapped_column(default=None, index=True)
    """The last part of `target_path`, unless given."""
    target_name_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    started_at: Mapped[datetime] = mapped_column(default_factory=now, index=True)
    completed_at: Mapped[datetime | None] = mapped_column(default=None)
    status: Mapped[Status] = mapped_column(default=Status.PENDING, active_history=True)
    result_path: Mapped[str | None] = mapped_column(default=None)
    result_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    error_message: Mapped[str | None] = mapped_column(default=None)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", default_factory=dict)
    """What has no column of its own. SQLAlchemy keeps the attribute name `metadata` for itself."""
    user: Mapped[str | None] = mapped_column(default=None)
    command_args: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)

    seq: Mapped[int] = mapped_column(BigId, Identity(), unique=True, init=False)
    """The order of operations, which no clock can change."""
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("operations.operation_id"), default=None, index=True)
    """The batch that it is part of."""
    stage: Mapped[str | None] = mapped_column(default=None)
    """How far a running operation has come; its service says what the words mean."""
    claim: Mapped[str | None] = mapped_column(init=False, default=None)
    """What no other live operation may have."""
    owner: Mapped[str | None] = mapped_column(init=False, default=None)
    """The process that runs it: host/boot/pid/start."""
    heard_at: Mapped[datetime | None] = mapped_column(init=False, default=None)
    """When its process last said that it is at work, by the database's clock (heartbeat.py); None once it has ended."""
    host: Mapped[str | None] = mapped_column(default=None)
    mgmt_version: Mapped[str | None] = mapped_column(init=False, default=None)
    sha256: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    """Of all that is recorded of it (canonical.py), from the moment that it has ended."""
    seal: Mapped[int | None] = mapped_column(BigId, init=False, repr=False, default=None)
    """The seal that it is part of; None until there is one."""

    computed: ClassVar[tuple[str, ...]] = ("duration_seconds",)

    __table_args__ = (
        Index(None, "seal"),
        Index(
            "uq_operations_claim",
            "claim",
            unique=True,
            **only_where(_LIVE_CLAIM),
        ),
        Index(None, "operation_type", "seq"),
        Index(None, "status", "seq"),
    )

    def __post_init__(self) -> None:
        if self.target_name is None and self.target_path is not None:
            self.target_name = os.path.basename(self.target_path)

    @property
    def duration_seconds(self) -> float | None:
        """From beginning to end, by the wall clock: 0 if that was set back meanwhile. None while it runs."""
        if self.completed_at is None:
            return None
        return max(0.0, (self.completed_at - self.started_at).total_seconds())

    @property
    def runs_on(self) -> str | None:
        """The machine and the process that is at work on it, as far as is known; None once it has ended."""
        if self.owner is None or self.status.is_terminal:
            return None
        owner = Owner.parse(self.owner)
        return f"{owner.host}, process {owner.pid}"

    @property
    def is_recorded(self) -> bool:
        """The catalog has it. False for what ran on a catalog that could not be written."""
        return bool(inspect(self).persistent)


class UploadRecord(OperationRecord, kw_only=True, eq=False):
    """An original that was archived."""

    __tablename__ = "uploads"
    __mapper_args__ = {"polymorphic_identity": "upload", "polymorphic_load": "inline"}

    operation_id: Mapped[str] = mapped_column(
        ForeignKey("operations.operation_id"), primary_key=True, default_factory=lambda: str(uuid.uuid4())
    )
    compression_type: Mapped[str] = mapped_column(default="gzip")
    original_size: Mapped[int | None] = mapped_column(BigId, default=None)
    compressed_size: Mapped[int | None] = mapped_column(BigId, default=None)
    s3_bucket: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None, index=True)
    s3_storage_class: Mapped[str | None] = mapped_column(default=None)
    checksum_original: Mapped[str | None] = mapped_column(default=None)
    """The sha256 of a single file; the digest of a folder (docs/format.md)."""
    checksum_compressed: Mapped[str | None] = mapped_column(default=None)
    """What the store should say of the object, by our own reckoning."""
    checksum_s3_etag: Mapped[str | None] = mapped_column(default=None)
    completed_dir_path: Mapped[str | None] = mapped_column(default=None)
    """Where the original moves, or has moved."""
    completed_dir_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    compressed_file_path: Mapped[str | None] = mapped_column(default=None)
    """A copy of the archive that was kept on disk."""
    compressed_file_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)

    store: Mapped[str | None] = mapped_column(default=None)
    index_key: Mapped[str | None] = mapped_column(default=None)
    archive_id: Mapped[str | None] = mapped_column(default=None)
    """The operation that began the archive: this one, or an earlier one whose parts it goes on with."""
    requested_key: Mapped[str | None] = mapped_column(default=None)
    """The key that was asked for; `s3_object_key` is another one if that was taken."""
    upload_id: Mapped[str | None] = mapped_column(default=None)
    part_size: Mapped[int | None] = mapped_column(BigId, default=None)
    parts: Mapped[int | None] = mapped_column(default=None)
    proof: Mapped[str | None] = mapped_column(default=None)
    digest: Mapped[str | None] = mapped_column(default=None, index=True)
    kept: Mapped[str | None] = mapped_column(default=None)
    """What of the content was kept besides, as in FileRecord."""
    source_state: Mapped[str | None] = mapped_column(default=None)
    """What the original looked like when it was read: it is compared just before the original moves."""
    root_ctime_ns: Mapped[int | None] = mapped_column(BigId, default=None)
    file_count: Mapped[int | None] = mapped_column(BigId, default=None)
    folder_count: Mapped[int | None] = mapped_column(BigId, default=None)
    link_count: Mapped[int | None] = mapped_column(BigId, default=None)
    skipped_count: Mapped[int | None] = mapped_column(BigId, default=None)

    computed: ClassVar[tuple[str, ...]] = ("duration_seconds", "compression_ratio")

    @property
    def compression_ratio(self) -> float | None:
        """Compressed by original bytes: 0.37 means that 63 % were saved. None while it is not known, or of nothing."""
        if not self.original_size or self.compressed_size is None:
            return None
        return self.compressed_size / self.original_size


class DownloadRecord(OperationRecord, kw_only=True, eq=False):
    """An archive, or a member of one, that was brought back."""

    __tablename__ = "downloads"
    __mapper_args__ = {"polymorphic_identity": "download", "polymorphic_load": "inline"}

    operation_id: Mapped[str] = mapped_column(
        ForeignKey("operations.operation_id"), primary_key=True, default_factory=lambda: str(uuid.uuid4())
    )
    s3_bucket: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None, index=True)
    s3_storage_class: Mapped[str | None] = mapped_column(default=None)
    local_path: Mapped[str | None] = mapped_column(default=None)
    local_path_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    downloaded_size: Mapped[int | None] = mapped_column(BigId, default=None)
    checksum_s3_etag: Mapped[str | None] = mapped_column(default=None)
    checksum_local: Mapped[str | None] = mapped_column(default=None)

    store: Mapped[str | None] = mapped_column(default=None)
    member: Mapped[str | None] = mapped_column(default=None)
    """The one member that was asked for; None for all of them."""
    member_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    digest: Mapped[str | None] = mapped_column(default=None)


class SearchRecord(OperationRecord, kw_only=True, eq=False):
    """A search, and what came of it. Finding nothing is a success."""

    __tablename__ = "searches"
    __mapper_args__ = {"polymorphic_identity": "search", "polymorphic_load": "inline"}

    operation_id: Mapped[str] = mapped_column(
        ForeignKey("operations.operation_id"), primary_key=True, default_factory=lambda: str(uuid.uuid4())
    )
    keyword: Mapped[str]
    keyword_bytes: Mapped[bytes | None] = mapped_column(init=False, repr=False, default=None)
    location: Mapped[Scope] = mapped_column(default=Scope.GLOBAL)
    local_matches: Mapped[int] = mapped_column(BigId, default=0)
    s3_matches: Mapped[int] = mapped_column(BigId, default=0)
    total_matches: Mapped[int] = mapped_column(BigId, default=0)
    download_selected: Mapped[bool] = mapped_column(default=False)
    status_checked: Mapped[bool] = mapped_column(default=False)


class VerifyRecord(OperationRecord, kw_only=True, eq=False):
    """Archives that were proven again, or not."""

    __tablename__ = "verifications"
    __mapper_args__ = {"polymorphic_identity": "verify", "polymorphic_load": "inline"}

    operation_id: Mapped[str] = mapped_column(
        ForeignKey("operations.operation_id"), primary_key=True, default_factory=lambda: str(uuid.uuid4())
    )
    store: Mapped[str | None] = mapped_column(default=None)
    s3_object_key: Mapped[str | None] = mapped_column(default=None, index=True)
    proof: Mapped[str | None] = mapped_column(default=None)
    checked_objects: Mapped[int] = mapped_column(BigId, default=0)
    checked_size: Mapped[int] = mapped_column(BigId, default=0)
    problems_found: Mapped[int] = mapped_column(BigId, default=0)


class DeleteRecord(OperationRecord, kw_only=True, eq=False):
    """An archive that was removed from its store."""

    __mapper_args__ = {"polymorphic_identity": "delete"}


class FreeRecord(OperationRecord, kw_only=True, eq=False):
    """A completed copy that was removed to get its space back; `result_path` is the name under which it is removed."""

    __mapper_args__ = {"polymorphic_identity": "free"}


class StatusRecord(OperationRecord, kw_only=True, eq=False):
    """A look at one file or operation."""

    __mapper_args__ = {"polymorphic_identity": "status"}


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


class PruneRecord(OperationRecord, kw_only=True, eq=False):
    """Operations that were exported to `result_path`, and removed from the catalog."""

    __tablename__ = "prunes"
    __mapper_args__ = {"polymorphic_identity": PRUNE, "polymorphic_load": "inline"}

    operation_id: Mapped[str] = mapped_column(
        ForeignKey("operations.operation_id"), primary_key=True, default_factory=lambda: str(uuid.uuid4())
    )
    ended_before: Mapped[datetime]
    """What had ended by then was to go."""
    removed_count: Mapped[int] = mapped_column(BigId, default=0)
    removed: Mapped[str] = mapped_column(default="")
    """Their numbers, as `1-5,7`: what the seals list and is not here is looked for in it."""
    export_size: Mapped[int | None] = mapped_column(BigId, default=None)
    export_sha256: Mapped[str | None] = mapped_column(default=None)
    """Of the export's bytes, as `sha256sum` gives it."""


class OperationFile(Base, kw_only=True, eq=False):
    """That an operation touched a file, and what the file was to it."""

    __tablename__ = "operation_files"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.operation_id"), primary_key=True, init=False)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id"), primary_key=True, init=False, index=True)
    role: Mapped[Role] = mapped_column(primary_key=True)
    operation: Mapped[OperationRecord] = relationship()
    file: Mapped[FileRecord] = relationship()


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


class EndpointRecord(Base, kw_only=True, eq=False):
    """What an endpoint was seen to do, so that it is probed once."""

    __tablename__ = "endpoints"

    url: Mapped[str] = mapped_column(primary_key=True)
    checksum: Mapped[str | None]
    """The checksum whose mismatch it was seen to refuse; None when it refuses none."""
    max_parts: Mapped[int]
    probed_at: Mapped[datetime] = mapped_column(default_factory=now)


operations = Base.metadata.tables["operations"]
"""Its rows alone: a query of the class joins the tables of the types, and PostgreSQL locks no row of such a join."""


@event.listens_for(OperationRecord, "before_insert", propagate=True)
def _number(_mapper: Mapper[Any], connection: Connection, operation: OperationRecord) -> None:
    """PostgreSQL counts by itself; on SQLite there is one writer at a time, so the next number is the next."""
    _end(operation)
    if connection.dialect.name == "sqlite":
        following = select(func.coalesce(func.max(OperationRecord.seq), 0) + 1).scalar_subquery()
        set_attribute(operation, "seq", following)


@event.listens_for(OperationRecord, "before_update", propagate=True)
def _keep_what_ended(_mapper: Mapper[Any], _connection: Connection, operation: OperationRecord) -> None:
    before = inspect(operation).attrs.status.history
    was = next(iter(before.deleted or before.unchanged))
    session = object_session(operation)
    if was.is_terminal and session is not None and session.is_modified(operation):
        raise CatalogError(
            f"{operation.operation_type} {operation.operation_id} has ended: its record cannot be changed"
        )
    _end(operation)


def _end(operation: OperationRecord) -> None:
    if operation.status.is_terminal:
        operation.completed_at = operation.completed_at or now()
        operation.heard_at = None
