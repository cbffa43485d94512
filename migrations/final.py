"""Operations for revisions: `op.keep_final(table)` and `op.allow_types(...)`.

`keep_final` (from 0008 on) creates the triggers that make the rows of a finished operation immutable, `allow_types`
(from 0009 on) those that refuse operations of unknown types. They are as frozen as a revision: what they run never
changes, whatever becomes of the models.
"""

from collections.abc import Iterator

from alembic.operations import MigrateOperation, Operations


@Operations.register_operation("keep_final")
class KeepFinal(MigrateOperation):
    """Make the rows of a sub-table of `operations` immutable once their operation has finished."""

    def __init__(self, table: str) -> None:
        self.table = table

    @classmethod
    def keep_final(cls, operations: Operations, table: str) -> None:
        """Create the triggers of `table`, which must have a column `operation_id`."""
        operations.invoke(cls(table))


@Operations.implementation_for(KeepFinal)
def _create_triggers(operations: Operations, operation: KeepFinal) -> None:
    for statement in triggers(operation.table, operations.get_context().dialect.name):
        operations.execute(statement)


def triggers(table: str, dialect: str) -> Iterator[str]:
    """The statements that create the triggers of `table`."""
    return _sqlite(table) if dialect == "sqlite" else _postgresql(table)


def _sqlite(table: str) -> Iterator[str]:
    old, new = "OLD.operation_id", "NEW.operation_id"
    for event, ids in (("delete", old), ("insert", new), ("update", f"{old}, {new}")):
        yield (
            f"CREATE TRIGGER {table}_{event} BEFORE {event.upper()} ON {table} WHEN EXISTS "
            f"(SELECT 1 FROM operations WHERE operation_id IN ({ids}) AND sha256 IS NOT NULL)\n"
            "BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END"
        )


def _postgresql(table: str) -> Iterator[str]:
    yield (
        f"CREATE TRIGGER {table}_keep BEFORE INSERT OR DELETE OR UPDATE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION mgmt_keep_facts()"
    )
    yield (
        f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION mgmt_refuse()"
    )


TYPES = (
    *("batch", "config", "delete", "download", "free", "ignore", "prune"),
    *("rebuild", "recover", "search", "status", "upload", "verify"),
)
"""The types of operations that revision 0009 knows."""


@Operations.register_operation("allow_types")
class AllowTypes(MigrateOperation):
    """Refuse operations of all types but those of revision 0009 and these."""

    def __init__(self, added: tuple[str, ...]) -> None:
        self.types = sorted({*TYPES, *added})

    @classmethod
    def allow_types(cls, operations: Operations, *added: str) -> None:
        """Allow the types of revision 0009, and all that revisions up to the present one have `added`."""
        operations.invoke(cls(added))


@Operations.implementation_for(AllowTypes)
def _refuse_other_types(operations: Operations, operation: AllowTypes) -> None:
    listed = ", ".join(f"'{each}'" for each in operation.types)
    if operations.get_context().dialect.name != "sqlite":
        operations.execute(
            "CREATE OR REPLACE FUNCTION mgmt_known_type() RETURNS trigger LANGUAGE plpgsql AS $$\n"
            "BEGIN\n"
            f"    IF NEW.operation_type NOT IN ({listed}) THEN\n"
            "        RAISE EXCEPTION 'unknown type of operation' USING ERRCODE = 'integrity_constraint_violation';\n"
            "    END IF;\n"
            "    RETURN NEW;\n"
            "END\n"
            "$$"
        )
        return
    for trigger, event in (("type", "INSERT"), ("retype", "UPDATE OF operation_type")):
        operations.execute(f"DROP TRIGGER IF EXISTS operations_{trigger}")
        operations.execute(
            f"CREATE TRIGGER operations_{trigger} BEFORE {event} ON operations "
            f"WHEN NEW.operation_type NOT IN ({listed})\n"
            "BEGIN SELECT RAISE(ABORT, 'unknown type of operation'); END"
        )
