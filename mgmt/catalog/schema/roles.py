"""Three roles for a PostgreSQL catalog: an owner, who migrates it, a writer and a reader.

Row-level security lets the writer change an operation while it is live, and in the transaction that finishes it. After
that it can only set the seal, once; the triggers refuse everything else. Only the owner of the tables can disable that.
What is left to do is no history: the writer can change and remove all of it.
The roles cannot log in: an administrator grants them to users.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Table, text

from mgmt.catalog.audit.triggers import FUNCTIONS
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import LIVE_SQL
from mgmt.catalog.records.jobs import LEFT_TO_DO
from mgmt.catalog.records.metadata import METADATA
from mgmt.errors import ConfigurationError

_CHANGED = {"files": "UPDATE", "endpoints": "UPDATE"}
"""Rights on tables that hold the current state, not history."""

_REMADE = {"members": "DELETE", "member_ranges": "DELETE", "directory_archives": "DELETE"}
"""Rights on tables that can be restored from the indexes of archives."""

_PARTS = {table.name for table in METADATA.tables.values() if "operation_id" in table.primary_key} - {
    *("operations", *LEFT_TO_DO)
}
"""The tables that extend an operation."""

FIXED = {"operation_id", "operation_type", "seq"}
"""Columns that never change. `started_at` does when a requested operation begins."""

OWNERS_ONLY = ("prunes",)
"""Tables that only the owner writes."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the roles."""

    owner: str
    writer: str
    reader: str

    @classmethod
    def named(cls, prefix: str) -> "Roles":
        """`PREFIX_owner`, `PREFIX_writer` and `PREFIX_reader`. Raises ConfigurationError for an invalid prefix."""
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,50}", prefix):
            raise ConfigurationError(
                f"invalid role prefix {prefix!r}", next_step="use lower-case letters, digits and _"
            )
        return cls(f"{prefix}_owner", f"{prefix}_writer", f"{prefix}_reader")


def sql(database: Database, roles: Roles) -> str:
    """The statements that create the roles and grant their rights. Run them again after each upgrade.

    Raises ConfigurationError for SQLite, which has no roles.
    """
    return "".join(f"{statement};\n" for statement in _statements(database, roles))


def apply(database: Database, roles: Roles) -> None:
    """Run the statements of `sql` in one transaction. Raises CatalogError if the login lacks the rights."""
    statements = list(_statements(database, roles))
    with database.migrating() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _statements(database: Database, roles: Roles) -> Iterator[str]:
    if database.is_sqlite:
        raise ConfigurationError(
            "an SQLite catalog has no roles: the permissions of its file decide who can read or write it",
            next_step="--catalog postgresql://...",
        )
    with database.reading() as session:
        name, schema = session.execute(text("SELECT current_database(), current_schema()")).one()
    name, schema = _quoted(name), _quoted(schema)
    everyone = f"{roles.writer}, {roles.reader}"
    for role in (roles.owner, roles.writer, roles.reader):
        yield (
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} NOLOGIN; END IF; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    # The current owner of the tables can transfer them only to a role that it is a member of.
    yield (
        f"DO $$ BEGIN IF NOT pg_has_role(current_user, '{roles.owner}', 'MEMBER') "
        f"THEN GRANT {roles.owner} TO CURRENT_USER; END IF; END $$"
    )
    yield f"GRANT CONNECT, CREATE ON DATABASE {name} TO {roles.owner}"
    yield f"GRANT CONNECT ON DATABASE {name} TO {everyone}"
    yield f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {roles.owner}"
    yield f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {everyone}"
    for each in ("alembic_version", *METADATA.tables):
        yield f"ALTER TABLE {schema}.{each} OWNER TO {roles.owner}"
        yield f"REVOKE ALL ON {schema}.{each} FROM PUBLIC, {everyone}"
        yield f"GRANT SELECT ON {schema}.{each} TO {everyone}"
    for function in FUNCTIONS:
        yield f"ALTER FUNCTION {schema}.{function}() OWNER TO {roles.owner}"
    for table in METADATA.sorted_tables:
        if table.name == "operations":
            yield from _of_operations(table, schema, roles.writer)
        elif table.name in OWNERS_ONLY:
            continue
        elif table.name in _PARTS:
            yield from _of_a_part(table, schema, roles.writer)
        else:
            rights = (_CHANGED, _REMADE, dict.fromkeys(LEFT_TO_DO, "UPDATE, DELETE"))
            more = "".join(f", {also[table.name]}" for also in rights if table.name in also)
            yield f"GRANT INSERT{more} ON {schema}.{table.name} TO {roles.writer}"
            if (number := table.autoincrement_column) is not None:
                yield f"GRANT USAGE ON SEQUENCE {schema}.{table.name}_{number.name}_seq TO {roles.writer}"


def updatable() -> list[str]:
    """The tables in which a writer may update all columns but those in FIXED."""
    return sorted({"operations", *_CHANGED, *_PARTS, *LEFT_TO_DO} - {"operation_files", *OWNERS_ONLY})


def removable() -> list[str]:
    """The tables from which a writer may remove rows."""
    return sorted({*_REMADE, *LEFT_TO_DO})


def _of_operations(table: Table, schema: str, writer: str) -> Iterator[str]:
    yield f"GRANT INSERT ({_columns(table, {'seq'})}) ON {schema}.operations TO {writer}"
    yield f"GRANT UPDATE ({_columns(table, FIXED)}) ON {schema}.operations TO {writer}"
    yield from _policies(
        f"{schema}.operations",
        writer,
        insert="true",
        update=f"status IN {LIVE_SQL} OR seal IS NULL OR {_just_written('operations')}",
    )


def _of_a_part(table: Table, schema: str, writer: str) -> Iterator[str]:
    name = f"{schema}.{table.name}"
    yield f"GRANT INSERT ON {name} TO {writer}"
    if table.name != "operation_files":
        yield f"GRANT UPDATE ({_columns(table, FIXED)}) ON {name} TO {writer}"
    live = (
        f"EXISTS (SELECT FROM {schema}.operations AS o WHERE o.operation_id = {table.name}.operation_id "
        f"AND (o.status IN {LIVE_SQL} OR {_just_written('o')}))"
    )
    yield from _policies(name, writer, insert=live, update=live)


def _just_written(operation: str) -> str:
    """The current transaction has inserted or updated the operation: its rows may be written in any order."""
    return f"{operation}.xmin = pg_current_xact_id_if_assigned()::xid"


def _policies(table: str, writer: str, *, insert: str, update: str) -> Iterator[str]:
    policies = {
        "mgmt_read": "FOR SELECT USING (true)",
        "mgmt_insert": f"FOR INSERT TO {writer} WITH CHECK ({insert})",
        "mgmt_update": f"FOR UPDATE TO {writer} USING ({update}) WITH CHECK (true)",
    }
    for policy, rule in policies.items():
        yield f"DROP POLICY IF EXISTS {policy} ON {table}"
        yield f"CREATE POLICY {policy} ON {table} {rule}"
    yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"


def _columns(table: Table, but: set[str]) -> str:
    return ", ".join(_quoted(column.name) for column in table.columns if column.name not in but)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
