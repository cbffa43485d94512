"""The triggers that keep finished operations, their dependent rows and seals immutable, and refuse foreign rows.

The migrations contain their own copies, which must match these (tests/catalog/schema/migrations/test_migrate.py).
`mgmt db check` compares these with the triggers in the database.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, Table, event, text

from mgmt.catalog.audit.canonical import UNHASHED, sub_tables
from mgmt.catalog.records.base import Base
from mgmt.catalog.records.enums import LIVE_SQL
from mgmt.catalog.records.operation_types import AnyOperation
from mgmt.catalog.records.operations import OperationFile, OperationRecord
from mgmt.catalog.records.seal import SealRecord

_FINAL = "a finished operation cannot be changed"
_SEALED = "a seal cannot be changed"
CHAINED = "a seal must have the next number, and the digest of the seal before it"
_BREAKS_THE_CHAIN = (
    "NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM seals) "
    "OR NEW.previous IS NOT (SELECT digest FROM seals ORDER BY sequence DESC LIMIT 1)"
)
UNKNOWN = "unknown type of operation"
_REPLACES_FINISHED = (
    "EXISTS (SELECT 1 FROM operations WHERE (operation_id = NEW.operation_id OR seq = NEW.seq OR rowid = NEW.rowid) "  # noqa: S608
    f"AND status NOT IN {LIVE_SQL})"
)
"""REPLACE would delete it silently where recursive_triggers is off, as in the sqlite3 shell."""


def expected(dialect: str) -> dict[str, str]:
    """The SQL of each trigger by name; on PostgreSQL preceded by the functions."""
    return _in_sqlite() if dialect == "sqlite" else {**_functions(), **_in_postgresql()}


def problems(connection: Connection) -> list[str]:
    """Triggers that are missing, disabled or changed."""
    found = existing(connection)
    return [
        f"trigger {name} is {'changed' if name in found else 'missing'}"
        for name, made in expected(connection.dialect.name).items()
        if _normalized(found.get(name, "")) != _normalized(made)
    ]


def restore(connection: Connection) -> None:
    """Create the triggers that are missing, disabled or changed again, within the caller's transaction."""
    found = existing(connection)
    for name, made in expected(connection.dialect.name).items():
        if _normalized(found.get(name, "")) == _normalized(made):
            continue
        if name in FUNCTIONS:
            connection.exec_driver_sql(made.replace("CREATE", "CREATE OR REPLACE", 1))
            continue
        on = "" if connection.dialect.name == "sqlite" else f" ON {_table_of(made)}"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{on}")
        connection.exec_driver_sql(made)


def _table_of(made: str) -> str:
    return made.partition(" ON ")[2].partition(" ")[0]


def existing(connection: Connection) -> Mapping[str, str]:
    """The SQL of the triggers in the database, by name."""
    if connection.dialect.name == "sqlite":
        made = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        return {str(name): str(sql) for name, sql in made}
    functions = connection.execute(
        text(
            "SELECT proname, "
            "'CREATE FUNCTION ' || proname || '() RETURNS trigger LANGUAGE plpgsql AS $$' || prosrc || '$$'"
            " FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'mgmt!_%' ESCAPE '!'"
        )
    )
    triggers = connection.execute(
        text(
            "SELECT tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE NOT tgisinternal AND tgenabled = 'O' AND c.relnamespace = current_schema()::regnamespace"
        )
    )
    schema = connection.scalar(text("SELECT current_schema()"))
    return {str(name): str(made) for name, made in functions} | {
        name: made.replace(f" ON {schema}.", " ON ").replace(f" FUNCTION {schema}.", " FUNCTION ")
        for name, made in triggers
    }


def _normalized(made: str) -> str:
    return " ".join(made.split())


def _in_sqlite() -> dict[str, str]:
    made = _sqlite(
        "operations",
        _FINAL,
        {
            "delete": ("DELETE", f"OLD.status NOT IN {LIVE_SQL}"),
            "insert": ("INSERT", _REPLACES_FINISHED),
            "update": (f"UPDATE OF {_hashed_columns()}", f"OLD.status NOT IN {LIVE_SQL}"),
            "number": ("UPDATE OF operation_id, seq", "OLD.operation_id <> NEW.operation_id OR OLD.seq <> NEW.seq"),
            "sha256": ("UPDATE OF sha256", f"OLD.sha256 IS NOT NULL OR NEW.status IN {LIVE_SQL}"),
            "seal": ("UPDATE OF seal", "OLD.seal IS NOT NULL OR NEW.sha256 IS NULL"),
        },
    )
    unknown = f"NEW.operation_type NOT IN ({_types()})"
    made |= _sqlite(
        "operations",
        UNKNOWN,
        {"type": ("INSERT", unknown), "retype": ("UPDATE OF operation_type", unknown)},
    )
    for table in _dependent_tables():
        made |= _sqlite(
            table.name,
            _FINAL,
            {
                "delete": ("DELETE", _is_finished("OLD.operation_id")),
                "insert": ("INSERT", _is_finished("NEW.operation_id")),
                "update": ("UPDATE", _is_finished("OLD.operation_id, NEW.operation_id")),
            },
        )
    made |= _sqlite("seals", _SEALED, {"delete": ("DELETE", "TRUE"), "update": ("UPDATE", "TRUE")})
    return made | _sqlite("seals", CHAINED, {"insert": ("INSERT", _BREAKS_THE_CHAIN)})


def _sqlite(table: str, message: str, refused: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {
        f"{table}_{what}": f"CREATE TRIGGER {table}_{what} BEFORE {event} ON {table} WHEN {when}\n"
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        for what, (event, when) in refused.items()
    }


def _hashed_columns() -> str:
    return ", ".join(f'"{column.name}"' for column in _table(OperationRecord).columns if column.name not in UNHASHED)


def known_types() -> list[str]:
    """The types of operations that this mgmt has classes for."""
    return sorted(AnyOperation.__mapper__.polymorphic_map)


def _types() -> str:
    return ", ".join(f"'{each}'" for each in known_types())


def _is_finished(ids: str) -> str:
    return f"EXISTS (SELECT 1 FROM operations WHERE operation_id IN ({ids}) AND sha256 IS NOT NULL)"  # noqa: S608


def _functions() -> dict[str, str]:
    """The functions of the triggers on PostgreSQL. The list of types is complete only when every class is mapped."""
    return {**_FUNCTIONS, "mgmt_known_type": _KNOWN_TYPE.format(types=_types())}


FUNCTIONS = ("mgmt_keep_facts", "mgmt_keep_operation", "mgmt_known_type", "mgmt_next_seal", "mgmt_refuse")
"""Their names."""

_KNOWN_TYPE = f"""
CREATE FUNCTION mgmt_known_type() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.operation_type NOT IN ({{types}}) THEN
        RAISE EXCEPTION '{UNKNOWN}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$"""

_FUNCTIONS = {
    "mgmt_keep_operation": f"""
CREATE FUNCTION mgmt_keep_operation() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept operations := NEW;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status NOT IN {LIVE_SQL} THEN
            RAISE EXCEPTION '{_FINAL}' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN OLD;
    END IF;
    kept.sha256 := OLD.sha256;
    kept.seal := OLD.seal;
    IF NEW.operation_id <> OLD.operation_id OR NEW.seq <> OLD.seq
        OR (OLD.status NOT IN {LIVE_SQL} AND kept::text <> OLD::text)
        OR (NEW.sha256 IS DISTINCT FROM OLD.sha256 AND (OLD.sha256 IS NOT NULL OR NEW.status IN {LIVE_SQL}))
        OR (NEW.seal IS DISTINCT FROM OLD.seal AND (OLD.seal IS NOT NULL OR NEW.sha256 IS NULL))
    THEN
        RAISE EXCEPTION '{_FINAL}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$""",
    "mgmt_keep_facts": f"""
CREATE FUNCTION mgmt_keep_facts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (TG_OP <> 'INSERT' AND {_is_finished("OLD.operation_id")})
        OR (TG_OP <> 'DELETE' AND {_is_finished("NEW.operation_id")})
    THEN
        RAISE EXCEPTION '{_FINAL}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$$""",
    "mgmt_refuse": f"""
CREATE FUNCTION mgmt_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
        MESSAGE = CASE TG_TABLE_NAME WHEN 'seals' THEN '{_SEALED}' ELSE '{_FINAL}' END;
END
$$""",
    "mgmt_next_seal": f"""
CREATE FUNCTION mgmt_next_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    digest bytea;
BEGIN
    EXECUTE 'SELECT s.sequence, s.digest FROM ' || quote_ident(TG_TABLE_SCHEMA)
        || '.seals s ORDER BY s.sequence DESC LIMIT 1' INTO number, digest;
    IF NEW.sequence <> coalesce(number, 0) + 1 OR NEW.previous IS DISTINCT FROM digest THEN
        RAISE EXCEPTION '{CHAINED}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$""",  # noqa: S608
}


def _in_postgresql() -> dict[str, str]:
    made = {"operations_keep": _postgresql("operations", "keep", "DELETE OR UPDATE", "ROW", "mgmt_keep_operation")}
    made |= {
        f"{table.name}_keep": _postgresql(table.name, "keep", "INSERT OR DELETE OR UPDATE", "ROW", "mgmt_keep_facts")
        for table in _dependent_tables()
    }
    retyped = "INSERT OR UPDATE OF operation_type"
    made["operations_type"] = _postgresql("operations", "type", retyped, "ROW", "mgmt_known_type")
    made["seals_insert"] = _postgresql("seals", "insert", "INSERT", "ROW", "mgmt_next_seal")
    made["seals_keep"] = _postgresql("seals", "keep", "DELETE OR UPDATE", "ROW", "mgmt_refuse")
    for table in [_table(OperationRecord), *_dependent_tables(), _table(SealRecord)]:
        name = f"{table.name}_truncate"
        made[name] = _postgresql(table.name, "truncate", "TRUNCATE", "STATEMENT", "mgmt_refuse")
    return made


def _postgresql(table: str, what: str, events: str, each: str, function: str) -> str:
    return f"CREATE TRIGGER {table}_{what} BEFORE {events} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()"


def _dependent_tables() -> list[Table]:
    """The tables whose rows belong to an operation."""
    return [*sub_tables(), _table(OperationFile)]


def _table(record: type[Base]) -> Table:
    table = record.__table__
    assert isinstance(table, Table)  # noqa: S101
    return table


@event.listens_for(Base.metadata, "after_create")
def _create(_metadata: object, connection: Connection, **_: object) -> None:
    for made in expected(connection.dialect.name).values():
        connection.exec_driver_sql(made)
