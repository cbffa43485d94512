"""The triggers that keep finished operations, their dependent rows and seals immutable.

The migrations contain their own copies, which must match these (tests/catalog/schema/test_migrate.py). `mgmt db check`
compares these with the triggers in the database.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, Table, event, text

from mgmt.catalog.audit.canonical import UNHASHED, sub_tables
from mgmt.catalog.records.base import Base
from mgmt.catalog.records.enums import LIVE_SQL
from mgmt.catalog.records.operations import OperationFile, OperationRecord
from mgmt.catalog.records.seal import SealRecord

_FINAL = "a finished operation cannot be changed"
_SEALED = "a seal cannot be changed"
_REPLACES_FINISHED = (
    "EXISTS (SELECT 1 FROM operations WHERE (operation_id = NEW.operation_id OR seq = NEW.seq OR rowid = NEW.rowid) "  # noqa: S608
    f"AND status NOT IN {LIVE_SQL})"
)
"""REPLACE would delete it silently where recursive_triggers is off, as in the sqlite3 shell."""


def expected(dialect: str) -> dict[str, str]:
    """The SQL of each trigger by name; on PostgreSQL preceded by the functions."""
    return _in_sqlite() if dialect == "sqlite" else {**FUNCTIONS, **_in_postgresql()}


def problems(connection: Connection) -> list[str]:
    """Triggers that are missing, disabled or changed."""
    found = existing(connection)
    return [
        f"trigger {name} is {'changed' if name in found else 'missing'}"
        for name, made in expected(connection.dialect.name).items()
        if _normalized(found.get(name, "")) != _normalized(made)
    ]


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
    return made | _sqlite(
        "seals",
        _SEALED,
        {
            "delete": ("DELETE", "TRUE"),
            "insert": ("INSERT", "EXISTS (SELECT 1 FROM seals WHERE sequence = NEW.sequence)"),
            "update": ("UPDATE", "TRUE"),
        },
    )


def _sqlite(table: str, message: str, refused: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {
        f"{table}_{what}": f"CREATE TRIGGER {table}_{what} BEFORE {event} ON {table} WHEN {when}\n"
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        for what, (event, when) in refused.items()
    }


def _hashed_columns() -> str:
    return ", ".join(f'"{column.name}"' for column in _table(OperationRecord).columns if column.name not in UNHASHED)


def _is_finished(ids: str) -> str:
    return f"EXISTS (SELECT 1 FROM operations WHERE operation_id IN ({ids}) AND sha256 IS NOT NULL)"  # noqa: S608


FUNCTIONS = {
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
}


def _in_postgresql() -> dict[str, str]:
    made = {"operations_keep": _postgresql("operations", "keep", "DELETE OR UPDATE", "ROW", "mgmt_keep_operation")}
    made |= {
        f"{table.name}_keep": _postgresql(table.name, "keep", "INSERT OR DELETE OR UPDATE", "ROW", "mgmt_keep_facts")
        for table in _dependent_tables()
    }
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
