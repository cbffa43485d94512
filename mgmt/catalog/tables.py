"""The rows of members: tens of millions of them, so narrow, and without a class."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, SmallInteger, Table

from mgmt.catalog.base import Base, only_where
from mgmt.catalog.columns import BigId, SafeText

directories = Table(
    "directories",
    Base.metadata,
    Column("id", BigId, primary_key=True),
    Column("path", SafeText, nullable=False),
    Column("path_bytes", LargeBinary),
    Index(None, "path", unique=True, **only_where("path_bytes IS NULL")),
    Index(None, "path_bytes", unique=True, **only_where("path_bytes IS NOT NULL")),
)

members = Table(
    "members",
    Base.metadata,
    Column("id", BigId, primary_key=True),
    Column("archive_id", BigId, ForeignKey("files.id"), nullable=False),
    Column("directory_id", BigId, ForeignKey("directories.id"), nullable=False),
    Column("name", SafeText, nullable=False),
    Column("name_bytes", LargeBinary),
    Column("type", SafeText, nullable=False),
    Column("mode", SmallInteger, nullable=False),
    Column("size", BigId, nullable=False),
    Column("mtime_ns", BigId, nullable=False),
    Column("header_offset", BigId, nullable=False),
    Column("data_offset", BigId, nullable=False),
    Column("sha256", LargeBinary),
    Column("link", SafeText),
    Column("link_bytes", LargeBinary),
    CheckConstraint("type IN ('f', 'd', 'l', 'h')", name="type"),
    Index(None, "archive_id"),
    Index(None, "directory_id"),
)
