"""PostgreSQL's index of the names of members, where the extension pg_trgm can be had.

The migrations make it if they can. An administrator may allow the extension later, and then the next `mgmt db upgrade`
makes the index, while others go on working. Without it a search finds the same, and takes longer.
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from mgmt.catalog.db.database import Database

_IS_VALID = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('member_names')")
_IS_THERE = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')")
_IS_TO_BE_HAD = text("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')")
_INSUFFICIENT_PRIVILEGE = "42501"


def index_names(database: Database) -> bool:
    """Make the index unless it is there; returns whether it is there now. For a PostgreSQL catalog of this schema."""
    with database.connection() as connection:
        valid = connection.scalar(_IS_VALID)
        if valid:
            return True
        if not _has_extension(connection):
            return False
        if valid is False:  # somebody was cut off while it was made
            connection.execute(text("DROP INDEX CONCURRENTLY IF EXISTS member_names"))
        connection.execute(
            text('CREATE INDEX CONCURRENTLY member_names ON members USING gin (name COLLATE "default" gin_trgm_ops)')
        )
        return True


def _has_extension(connection: Connection) -> bool:
    if connection.scalar(_IS_THERE):
        return True
    if not connection.scalar(_IS_TO_BE_HAD):
        return False
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            return False
        raise
    return True
