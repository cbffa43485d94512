"""Indexes on expressions, on PostgreSQL only: Alembic cannot compare them with the models."""

from sqlalchemy import Connection, text

INDEXES = {
    "ix_files_size": "CREATE INDEX ix_files_size ON files ((coalesce(size, -1)), id)",
    "ix_files_tags": "CREATE INDEX ix_files_tags ON files USING gin (CAST(tags AS jsonb) jsonb_path_ops)",
}
"""For `ls --sort size`, and for tags; as the migrations create them."""


def missing(connection: Connection) -> list[str]:
    """The names of those that do not exist, or are not valid."""
    found = text(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indisvalid AND i.indrelid = to_regclass('files')"
    )
    return sorted(INDEXES.keys() - set(connection.execute(found).scalars()))


def restore(connection: Connection) -> None:
    """Create those that are missing, within the caller's transaction."""
    for name in missing(connection):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
        connection.exec_driver_sql(INDEXES[name])
