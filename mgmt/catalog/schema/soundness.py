"""Whether a catalog is sound, and what can be repaired without a backup: triggers, indexes and sequences."""

from collections.abc import Iterator

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Index, text

from mgmt.catalog.audit import triggers
from mgmt.catalog.db.database import Database
from mgmt.catalog.db.revision import HEAD
from mgmt.catalog.records.operations import MOST_SEQ
from mgmt.catalog.schema import grants, pg_expressions
from mgmt.catalog.schema.defect import Defect
from mgmt.catalog.schema.migrate import OPTIONS

UPGRADE = "mgmt db upgrade"
REPAIR = "mgmt db check --repair"
RESTORE = "restore it from a backup, or move it away and run: mgmt db rebuild"
FOREIGN_ROWS = "see Foreign rows in docs/dba.md"

NUMBERED = {"operations": "seq", "files": "id", "directories": "id", "members": "id"}
"""The columns that PostgreSQL numbers by a sequence."""

_UNNUMBERED = text(f"SELECT count(*) FROM operations WHERE seq >= {MOST_SEQ}")  # noqa: S608 - a constant
"""Texts are greater than numbers."""
_SEQUENCE = (
    "SELECT s.name, CASE WHEN has_sequence_privilege(s.name, 'USAGE, SELECT') "
    "THEN coalesce(pg_sequence_last_value(CAST(s.name AS regclass)), 0) END, "
    "(SELECT coalesce(max({column}), 0) FROM {table}) "
    "FROM (SELECT pg_get_serial_sequence('{table}', '{column}') AS name) s"
)
_BREAKS = text(
    "SELECT sequence, before FROM (SELECT sequence, previous, lag(sequence) OVER w AS before, "
    "lag(digest) OVER w AS digest FROM seals WINDOW w AS (ORDER BY sequence)) chained "
    "WHERE sequence <> coalesce(before, 0) + 1 OR coalesce(previous, :none) <> coalesce(digest, :none) "
    "ORDER BY sequence LIMIT 20"
)


def check(database: Database) -> list[Defect]:
    """Compare the schema with the records, and look for rows, rights and sequences that mgmt cannot work with.

    On SQLite it also looks for damaged pages and orphaned rows.
    """
    found = database.revision()
    with database.connection() as connection:
        if found == HEAD:
            defects = [*_differences(connection), *_triggers(connection)]
            if not database.is_sqlite:
                defects += [*_expressions(connection), *grants.missing(connection), *_encoding(connection)]
            if database.is_sqlite or grants.can_read(connection):
                defects += _foreign_rows(connection)
                defects += [] if database.is_sqlite else _sequences(connection)
        else:
            remedy = UPGRADE if found is None or found < HEAD else "use a newer mgmt"
            defects = [Defect(f"the schema is {found or 'empty'}, expected {HEAD}", remedy)]
        if database.is_sqlite:
            defects += _damage(connection)
    return defects


def missing_rights(database: Database) -> list[Defect]:
    """The rights that the roles of a PostgreSQL catalog of this schema lack, as after an upgrade."""
    if database.is_sqlite:
        return []
    with database.connection() as connection:
        return list(grants.missing(connection))


def repair(database: Database) -> list[Defect]:
    """Create missing and changed triggers and indexes again, and advance sequences, all or nothing.

    Returns what was repaired. No row of a table is changed. On PostgreSQL only the owner of the tables may do it.
    Raises CatalogError if the schema is older or newer.
    """
    with database.transaction() as session:
        connection = session.connection()
        missing = [each for each in _differences(connection) if isinstance(each.object, Index)]
        for defect in missing:
            defect.object.create(connection)
        changed = _triggers(connection)
        triggers.restore(connection)
        unindexed = [] if database.is_sqlite else _expressions(connection)
        if unindexed:
            pg_expressions.restore(connection)
        behind = [] if database.is_sqlite else list(_sequences(connection))
        for defect in behind:
            connection.exec_driver_sql(defect.remedy)
    return [*missing, *changed, *unindexed, *behind]


def _differences(connection: Connection) -> Iterator[Defect]:
    context = MigrationContext.configure(connection, opts=OPTIONS)
    for difference in compare_metadata(context, OPTIONS["target_metadata"]):
        message = f"schema: {difference}"
        match difference:
            case ("add_table_comment" | "remove_table_comment", *_):
                continue  # an administrator may comment as he likes
            case ("add_index", Index() as index):
                yield Defect(message, REPAIR, index)
            case ("remove_table" | "remove_index" | "remove_column", *_):
                yield Defect(message, "remove it; a catalog needs a schema of its own")
            case _:
                yield Defect(message, RESTORE)


def _expressions(connection: Connection) -> list[Defect]:
    return [Defect(f"index {name} is missing", REPAIR) for name in pg_expressions.missing(connection)]


def _triggers(connection: Connection) -> list[Defect]:
    return [Defect(problem, REPAIR) for problem in triggers.problems(connection)]


def _foreign_rows(connection: Connection) -> Iterator[Defect]:
    """Rows that another program wrote, and that no mgmt would have."""
    listed = ", ".join(f"'{each}'" for each in triggers.known_types())
    types = (
        f"SELECT operation_type, count(*) FROM operations WHERE operation_type NOT IN ({listed}) GROUP BY 1 ORDER BY 1"  # noqa: S608
    )
    for kind, count in connection.execute(text(types)):
        yield Defect(f"{count} operations of the unknown type {kind!r}", FOREIGN_ROWS)
    if connection.dialect.name == "sqlite" and (count := connection.scalar(_UNNUMBERED)):
        yield Defect(f"{count} operations whose seq is not a number, or the greatest", FOREIGN_ROWS)
    for number, before in connection.execute(_BREAKS, {"none": b""}):
        follows = "is not the first" if before is None else f"does not follow seal {before}"
        yield Defect(f"seal {number} {follows}", FOREIGN_ROWS)


def _sequences(connection: Connection) -> Iterator[Defect]:
    """Sequences behind the rows that they number, as on a logical replica: the next insert would collide."""
    for table, column in NUMBERED.items():
        name, last, highest = connection.execute(text(_SEQUENCE.format(table=table, column=column))).one()
        if last is not None and last < highest:
            yield Defect(
                f"the sequence {name} is at {last}, and rows go up to {highest}", f"SELECT setval('{name}', {highest})"
            )


def _encoding(connection: Connection) -> Iterator[Defect]:
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        yield Defect(
            f"the database has the encoding {encoding}, which cannot store every name",
            "pg_dump -E UTF8 | psql to a database that was created with: createdb -T template0 -E UTF8",
        )


def _damage(connection: Connection) -> Iterator[Defect]:
    for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars().all():
        if line != "ok":
            yield Defect(f"damage: {line}", RESTORE)
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        yield Defect(f"orphan: row {row[1]} of {row[0]} refers to a missing row of {row[2]}", RESTORE)
