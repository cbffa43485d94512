"""The first catalog: files, operations, members.

Revision: 0001, the first.

A revision is history: it imports nothing of mgmt, so that no later change of a model can change it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Text sorts by code point everywhere, as it does in SQLite.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "operations",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("operation_type", TEXT, nullable=False),
        *name("target_path"),
        *name("target_name"),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("completed_at", TIME),
        sa.Column("status", sa.String(16), nullable=False),
        *name("result_path"),
        sa.Column("error_message", TEXT),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("user", TEXT),
        sa.Column("command_args", sa.JSON, nullable=False),
        sa.Column("seq", BIG, sa.Identity(), nullable=False),
        sa.Column("parent_id", TEXT),
        sa.Column("stage", TEXT),
        sa.Column("claim", TEXT),
        sa.Column("owner", TEXT),
        sa.Column("host", TEXT),
        sa.Column("mgmt_version", TEXT),
        sa.PrimaryKeyConstraint("operation_id", name="pk_operations"),
        sa.UniqueConstraint("seq", name="uq_operations_seq"),
        refers("operations", "parent_id", "operations.operation_id"),
        words("operations", "status", "pending", "running", "success", "failed", "partial", "cancelled"),
    )
    index("operations", "operation_type", "seq")
    index("operations", "status", "seq")
    index("operations", "started_at")
    index("operations", "target_path")
    index("operations", "target_name")
    index("operations", "parent_id")
    live = "claim IS NOT NULL AND status IN ('pending', 'running')"
    index("operations", "claim", name="uq_operations_claim", unique=True, where=live)

    op.create_table(
        "uploads",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("compression_type", TEXT, nullable=False),
        sa.Column("original_size", BIG),
        sa.Column("compressed_size", BIG),
        sa.Column("s3_bucket", TEXT),
        sa.Column("s3_object_key", TEXT),
        sa.Column("s3_storage_class", TEXT),
        sa.Column("checksum_original", TEXT),
        sa.Column("checksum_compressed", TEXT),
        sa.Column("checksum_s3_etag", TEXT),
        *name("completed_dir_path"),
        *name("compressed_file_path"),
        sa.Column("store", TEXT),
        sa.Column("index_key", TEXT),
        sa.Column("archive_id", TEXT),
        sa.Column("requested_key", TEXT),
        sa.Column("upload_id", TEXT),
        sa.Column("part_size", BIG),
        sa.Column("parts", sa.Integer),
        sa.Column("proof", TEXT),
        sa.Column("digest", TEXT),
        sa.Column("source_state", TEXT),
        sa.Column("root_ctime_ns", BIG),
        sa.Column("file_count", BIG),
        sa.Column("folder_count", BIG),
        sa.Column("link_count", BIG),
        sa.Column("skipped_count", BIG),
        *is_an_operation("uploads"),
    )
    index("uploads", "s3_object_key")
    index("uploads", "digest")

    op.create_table(
        "downloads",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("s3_bucket", TEXT),
        sa.Column("s3_object_key", TEXT),
        sa.Column("s3_storage_class", TEXT),
        *name("local_path"),
        sa.Column("downloaded_size", BIG),
        sa.Column("checksum_s3_etag", TEXT),
        sa.Column("checksum_local", TEXT),
        sa.Column("store", TEXT),
        *name("member"),
        sa.Column("digest", TEXT),
        *is_an_operation("downloads"),
    )
    index("downloads", "s3_object_key")

    op.create_table(
        "searches",
        sa.Column("operation_id", TEXT, nullable=False),
        *name("keyword", nullable=False),
        sa.Column("location", sa.String(16), nullable=False),
        sa.Column("local_matches", BIG, nullable=False),
        sa.Column("s3_matches", BIG, nullable=False),
        sa.Column("total_matches", BIG, nullable=False),
        sa.Column("download_selected", sa.Boolean, nullable=False),
        sa.Column("status_checked", sa.Boolean, nullable=False),
        *is_an_operation("searches"),
        words("searches", "location", "local", "s3", "global"),
    )

    op.create_table(
        "verifications",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("store", TEXT),
        sa.Column("s3_object_key", TEXT),
        sa.Column("proof", TEXT),
        sa.Column("checked_objects", BIG, nullable=False),
        sa.Column("checked_size", BIG, nullable=False),
        sa.Column("problems_found", BIG, nullable=False),
        *is_an_operation("verifications"),
    )
    index("verifications", "s3_object_key")

    op.create_table(
        "files",
        sa.Column("id", BIG, nullable=False),
        *name("name", nullable=False),
        *name("path", nullable=False),
        sa.Column("location", sa.String(16), nullable=False),
        sa.Column("host", TEXT),
        sa.Column("store", TEXT),
        sa.Column("size", BIG),
        sa.Column("is_directory", sa.Boolean, nullable=False),
        sa.Column("mime_type", TEXT),
        sa.Column("created_at", TIME),
        sa.Column("modified_at", TIME),
        sa.Column("accessed_at", TIME),
        sa.Column("checksum", TEXT),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error_message", TEXT),
        sa.Column("s3_bucket", TEXT),
        sa.Column("s3_object_key", TEXT),
        sa.Column("storage_class", TEXT),
        sa.Column("etag", TEXT),
        sa.Column("object_checksum", TEXT),
        sa.Column("index_key", TEXT),
        sa.Column("digest", TEXT),
        sa.Column("original_size", BIG),
        sa.Column("member_count", BIG),
        sa.Column("proof", TEXT),
        sa.Column("proven_at", TIME),
        sa.Column("operation_id", TEXT),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        refers("files", "operation_id", "operations.operation_id"),
        words("files", "location", "local", "s3", "completed"),
        words("files", "status", "pending", "uploading", "completed", "failed", "deleted"),
        sa.CheckConstraint("(location = 's3') = (store IS NOT NULL)", name=op.f("ck_files_store")),
        sa.CheckConstraint("(location = 's3') = (host IS NULL)", name=op.f("ck_files_host")),
    )
    index("files", "host", "location", "path", unique=True, where="path_bytes IS NULL")
    index("files", "host", "location", "path_bytes", unique=True, where="path_bytes IS NOT NULL")
    index("files", "store", "path", unique=True, where="store IS NOT NULL")
    index("files", "location", "path")
    index("files", "status")
    index("files", "path")
    index("files", "name")
    index("files", "s3_object_key")
    index("files", "operation_id")
    index("files", "digest")

    op.create_table(
        "operation_files",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("file_id", BIG, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", "file_id", "role", name="pk_operation_files"),
        refers("operation_files", "operation_id", "operations.operation_id"),
        refers("operation_files", "file_id", "files.id"),
        words("operation_files", "role", "source", "archive", "index", "completed", "result"),
    )
    index("operation_files", "file_id")

    op.create_table(
        "directories",
        sa.Column("id", BIG, nullable=False),
        *name("path", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_directories"),
    )
    index("directories", "path", unique=True, where="path_bytes IS NULL")
    index("directories", "path_bytes", unique=True, where="path_bytes IS NOT NULL")

    op.create_table(
        "members",
        sa.Column("id", BIG, nullable=False),
        sa.Column("archive_id", BIG, nullable=False),
        sa.Column("directory_id", BIG, nullable=False),
        *name("name", nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("mode", sa.SmallInteger, nullable=False),
        sa.Column("size", BIG, nullable=False),
        sa.Column("mtime_ns", BIG, nullable=False),
        sa.Column("header_offset", BIG, nullable=False),
        sa.Column("data_offset", BIG, nullable=False),
        sa.Column("sha256", sa.LargeBinary),
        *name("link"),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
        refers("members", "archive_id", "files.id"),
        refers("members", "directory_id", "directories.id"),
        words("members", "type", "f", "d", "l", "h"),
    )
    index("members", "archive_id")
    index("members", "directory_id")

    op.create_table(
        "endpoints",
        sa.Column("url", TEXT, nullable=False),
        sa.Column("checksum", TEXT),
        sa.Column("max_parts", sa.Integer, nullable=False),
        sa.Column("probed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("url", name="pk_endpoints"),
    )


def downgrade() -> None:
    for table in (
        "endpoints",
        "members",
        "directories",
        "operation_files",
        "files",
        "verifications",
        "searches",
        "downloads",
        "uploads",
        "operations",
    ):
        op.drop_table(table)


def name(column: str, *, nullable: bool = True) -> tuple[sa.Column[Any], sa.Column[Any]]:
    """Text to show, and the exact bytes where they are not UTF-8."""
    return sa.Column(column, TEXT, nullable=nullable), sa.Column(f"{column}_bytes", sa.LargeBinary)


def words(table: str, column: str, *allowed: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in allowed)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))


def refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}_{target.partition('.')[0]}")


def is_an_operation(table: str) -> tuple[sa.PrimaryKeyConstraint, sa.ForeignKeyConstraint]:
    key = sa.PrimaryKeyConstraint("operation_id", name=f"pk_{table}")
    return key, refers(table, "operation_id", "operations.operation_id")


def index(table: str, *columns: str, name: str | None = None, unique: bool = False, where: str | None = None) -> None:
    partial: dict[str, Any] = (
        {} if where is None else {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    )
    op.create_index(name or f"ix_{table}_{'_'.join(columns)}", table, list(columns), unique=unique, **partial)
