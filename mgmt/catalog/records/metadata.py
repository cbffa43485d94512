"""The whole schema, for what looks at tables rather than at records: migrations, checks, roles, exports."""

from sqlalchemy import MetaData

from mgmt.catalog.records import endpoint, jobs, member_tables, operation_types, seal
from mgmt.catalog.records.base import Base

MODULES = (endpoint, jobs, member_tables, operation_types, seal)
"""The modules that define a table; to import them is to define it."""

METADATA: MetaData = Base.metadata
"""Every table."""


def _add_postgresql_conditions() -> None:
    """Give each partial index its condition on PostgreSQL; SQLAlchemy imports the whole dialect to take it."""
    for table in METADATA.tables.values():
        for index in table.indexes:
            if (condition := index.dialect_kwargs.get("sqlite_where")) is not None:
                index.dialect_kwargs["postgresql_where"] = condition


_add_postgresql_conditions()
