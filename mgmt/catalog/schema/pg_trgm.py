"""The trigram index of member names on PostgreSQL, if the extension pg_trgm is available.

The migrations create it if they can. If an administrator installs the extension later, the next `mgmt db upgrade`
creates the index without blocking writers. Without it a search is slower, with the same results.
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from mgmt.catalog.db.database import Database

_IS_VALID = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('member_names')")
_IS_INSTALLED = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')")
_IS_AVAILABLE = text("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')")
_INSUFFICIENT_PRIVILEGE = "42501"


def create_name_index(database: Database) -> bool:
    """Create the index unless it exists; return whether it exists now. For a PostgreSQL catalog of this schema."""
    with database.connection() as connection:
        valid = connection.scalar(_IS_VALID)
        if valid:
            return True
        if not _has_extension(connection):
            return False
        if valid is False:  # an interrupted CREATE INDEX CONCURRENTLY left it
            connection.execute(text("DROP INDEX CONCURRENTLY IF EXISTS member_names"))
        connection.execute(
            text('CREATE INDEX CONCURRENTLY member_names ON members USING gin (name COLLATE "default" gin_trgm_ops)')
        )
        return True


def _has_extension(connection: Connection) -> bool:
    if connection.scalar(_IS_INSTALLED):
        return True
    if not connection.scalar(_IS_AVAILABLE):
        return False
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            return False
        raise
    return True
