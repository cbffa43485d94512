"""The tables of members. They hold tens of millions of narrow rows, so there is no ORM class.

An index over all members would take a seventh of the space of the rows. The members of an archive are written together,
so their ids are adjacent, and two small tables that map archives and directories to ids replace the indexes.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, SmallInteger, Table

from mgmt.catalog.records.base import Base, only_where
from mgmt.catalog.records.types import BigId, SafeText

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
)

member_ranges = Table(
    "member_ranges",
    Base.metadata,
    Column("archive_id", BigId, ForeignKey("files.id"), primary_key=True, autoincrement=False),
    Column("first_id", BigId, nullable=False),
    Column("last_id", BigId, nullable=False),
    Index(None, "last_id"),
)
"""The range of ids of an archive's members. On PostgreSQL it may include members of other archives."""

directory_archives = Table(
    "directory_archives",
    Base.metadata,
    Column("directory_id", BigId, ForeignKey("directories.id"), primary_key=True, autoincrement=False),
    Column("archive_id", BigId, ForeignKey("files.id"), primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""The archives that have members in a directory."""
