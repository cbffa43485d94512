"""The trigram index of member names on PostgreSQL, if the extension pg_trgm is available.

The migrations create it if they can. If an administrator installs the extension later, the next `mgmt db upgrade`
creates the index without blocking writers. Without it a search is slower, with the same results.
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from mgmt.catalog.db.database import Database

_IS_VALID = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('member_names')")
_SCHEMA = text(
    "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE extname = 'pg_trgm' AND has_schema_privilege(n.oid, 'USAGE')"
)
"""The schema of the extension, which need not be in the `search_path`."""
_IS_AVAILABLE = text("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')")
_INSUFFICIENT_PRIVILEGE = "42501"


def create_name_index(database: Database) -> bool:
    """Create the index unless it exists; return whether it exists now. For a PostgreSQL catalog of this schema."""
    with database.connection() as connection:
        valid = connection.scalar(_IS_VALID)
        if valid:
            return True
        schema = _schema_of_extension(connection)
        if schema is None:
            return False
        if valid is False:  # an interrupted CREATE INDEX CONCURRENTLY left it
            connection.execute(text("DROP INDEX CONCURRENTLY IF EXISTS member_names"))
        operators = f'name COLLATE "default" {schema}.gin_trgm_ops'
        connection.execute(text(f"CREATE INDEX CONCURRENTLY member_names ON members USING gin ({operators})"))
        return True


def _schema_of_extension(connection: Connection) -> str | None:
    """The schema of pg_trgm, which is installed first if it can be; None if it cannot be used."""
    schema = _installed(connection)
    if schema is not None or not connection.scalar(_IS_AVAILABLE):
        return schema
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            return None
        raise
    return _installed(connection)


def _installed(connection: Connection) -> str | None:
    schema: str | None = connection.scalar(_SCHEMA)
    return schema
