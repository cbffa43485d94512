"""`op.keep_final(table)`: the triggers that make the rows of a finished operation immutable.

For revisions from 0008 on. It is as frozen as a revision: what it runs never changes, whatever becomes of the models.
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
