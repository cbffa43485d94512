"""Rows that another program writes into the catalog: refused, or shown and reported; mgmt works on."""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from mgmt.catalog import (
    Catalog,
    FileRecord,
    OperationRecord,
    PruneRecord,
    RangeSet,
    Status,
    UploadRecord,
    open_catalog,
)
from mgmt.catalog.audit import triggers
from mgmt.catalog.audit.canonical import canonical_rows
from mgmt.catalog.audit.export import export
from mgmt.catalog.audit.import_history import import_history
from mgmt.catalog.audit.prune import Prunable, PruneFilter, prunable, remove
from mgmt.catalog.audit.seals import seals
from mgmt.catalog.schema import soundness
from mgmt.errors import CatalogError, ConfigurationError, IntegrityError

Reopen = Callable[[], Catalog]
PAGE = (Path(__file__).parents[3] / "docs" / "dba.md").read_text("utf-8")

OPERATION = (
    "INSERT INTO operations (operation_id, operation_type, target_path, started_at, completed_at, status, metadata, "
    "command_args, owner{seq}) VALUES (:id, :type, '/x', :now, :now, :status, '{{}}', '{{}}', :owner{number})"
)
SEAL = (
    "INSERT INTO seals (sequence, sealed_at, operations, previous, digest) "
    "VALUES (:sequence, :now, '[]', :previous, :digest)"
)


def insert(connection: Connection, statement: str, **values: object) -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    is_sqlite = connection.dialect.name == "sqlite"
    seq, number = (", seq", ", (SELECT coalesce(max(seq), 0) + 1 FROM operations)") if is_sqlite else ("", "")
    statement = statement.format(seq=seq, number=number)
    now = f"{moment:%Y-%m-%d %H:%M:%S.%f}" if is_sqlite else moment
    connection.execute(text(statement), {"now": now, **values})


def rogue(**values: object) -> dict[str, object]:
    return {"id": "r1", "type": "rogue", "status": "success", "owner": None, **values}


def upload(catalog: Catalog, path: str) -> None:
    with catalog.journal.record(UploadRecord(target_path=path)):
        pass
    catalog.audit.seal()


@contextmanager
def without_triggers(catalog: Catalog) -> Iterator[Connection]:
    """As the owner of the tables can."""
    with catalog.database.migrating() as connection:
        for name, made in triggers.expected(connection.dialect.name).items():
            if name not in triggers.FUNCTIONS:
                on = "" if catalog.database.is_sqlite else f" ON {made.split(' ON ')[1].split()[0]}"
                connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")
        yield connection
        triggers.restore(connection)


def test_an_operation_of_an_unknown_type_is_refused(catalog: Catalog) -> None:
    upload(catalog, "/a")
    for statement in (OPERATION, "UPDATE operations SET operation_type = :type"):
        with (
            pytest.raises(CatalogError, match=r"unknown type of operation|cannot be changed"),
            catalog.database.migrating() as connection,
        ):
            insert(connection, statement, **rogue())
    for known in triggers.known_types():
        with catalog.database.migrating() as connection:
            insert(connection, OPERATION, **rogue(id=known, type=known))


@pytest.mark.parametrize("status", ["success", "running"])
def test_an_operation_of_an_unknown_type_is_shown_and_reported(status: str, catalog: Catalog, reopen: Reopen) -> None:
    upload(catalog, "/a")
    with without_triggers(catalog) as connection:
        insert(connection, OPERATION, **rogue(status=status, owner="nonsense"))
    again = reopen()
    shown, _ = again.metadata.list_operations()
    assert (type(shown), shown.operation_type, shown.is_known) == (OperationRecord, "rogue", False)
    assert shown.as_dict()["target_path"] == "/x"
    assert again.metadata.get_operation("r1") is shown
    assert again.metadata.list_operations("rogue") == [shown]
    assert [each.message for each in soundness.check(again.database)] == ["1 operations of the unknown type 'rogue'"]
    assert again.journal.interrupted() == again.journal.left_by("nonsense") == []
    if status == "running":
        assert shown.runs_on
        assert [
            (each.operation_id, "does not know its type" in advice) for each, advice in again.journal.unknown()
        ] == [("r1", True)]
    upload(again, "/b")
    assert [each.target_path for each in again.metadata.list_operations()] == ["/b", "/x", "/a"]


@pytest.mark.parametrize(
    ("sequence", "previous"), [(999_999, "digest"), (1, "digest"), (0, None), (3, None), (3, "other"), (-5, "digest")]
)
def test_a_seal_out_of_order_is_refused(sequence: int, previous: str | None, catalog: Catalog) -> None:
    upload(catalog, "/a")
    upload(catalog, "/b")
    head = catalog.audit.head()
    assert head is not None
    before = {"digest": head.digest, "other": b"x", None: None}[previous]
    with (
        pytest.raises(CatalogError, match="a seal must have the next number"),
        catalog.database.migrating() as connection,
    ):
        insert(connection, SEAL, sequence=sequence, previous=before, digest=b"d")
    upload(catalog, "/c")
    with catalog.database.connection() as connection:
        assert [seal.sequence for seal in seals(connection, 0, 10)] == [1, 2, 3]
    assert list(catalog.audit.verification().findings()) == []
    assert soundness.check(catalog.database) == []


def test_a_sealed_operation_of_an_unknown_type_can_be_pruned(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with without_triggers(catalog) as connection:
        insert(connection, OPERATION, **rogue())
        (row,) = canonical_rows(connection, "o.operation_id = 'r1'", {})
        connection.execute(text("UPDATE operations SET sha256 = :digest"), {"digest": row.digest})
    upload(catalog, "/a")
    everything = PruneFilter(datetime.now(UTC), ("rogue",))
    assert prunable(catalog.database, everything) == [Prunable(operation_type="rogue", count=1)]
    with pytest.raises(ConfigurationError, match="not a prunable"):
        prunable(catalog.database, PruneFilter(everything.before, ("rouge",)))
    with catalog.journal.record(PruneRecord(ended_before=everything.before, removed="1", removed_count=1)):
        remove(catalog.database, RangeSet([(1, 1)]))
    assert soundness.check(catalog.database) == []
    assert list(catalog.audit.verification().findings()) == []


def repair_by_hand(catalog: Catalog) -> None:
    """Run the statements of docs/dba.md."""
    kind = "sqlite" if catalog.database.is_sqlite else "postgresql"
    (statements,) = re.findall(rf"Foreign rows.*?```sql {kind}\n(.*?)```", PAGE, re.DOTALL)
    with catalog.database.migrating() as connection:
        for statement in filter(str.strip, statements.replace("BEGIN;", "").replace("COMMIT;", "").split(";")):
            connection.exec_driver_sql(statement)


def test_foreign_rows_are_removed_as_documented(catalog: Catalog, reopen: Reopen) -> None:
    """A forged seal of a high number, after which mgmt has sealed, as before revision 0009."""
    upload(catalog, "/a")
    with without_triggers(catalog) as connection:
        insert(connection, SEAL, sequence=999_999, previous=None, digest=b"d")
        insert(connection, OPERATION, **rogue())
    upload(catalog, "/b")
    assert {each.message for each in soundness.check(catalog.database)} == {
        "1 operations of the unknown type 'rogue'",
        "seal 999999 does not follow seal 1",
    }
    assert list(catalog.audit.verification().findings())

    repair_by_hand(catalog)
    again = reopen()
    soundness.repair(again.database)
    assert again.audit.seal() == 1
    assert soundness.check(again.database) == []
    assert list(again.audit.verification().findings()) == []
    assert [each.target_path for each in again.metadata.list_operations()] == ["/b", "/a"]
    with again.database.connection() as connection:
        assert [seal.sequence for seal in seals(connection, 0, 10)] == [1, 2]


def test_an_owner_that_makes_no_sense_is_unknown(catalog: Catalog, reopen: Reopen) -> None:
    catalog.metadata.save_operation(UploadRecord(target_path="/a", status=Status.RUNNING))
    with catalog.database.migrating() as connection:
        connection.execute(text("UPDATE operations SET owner = 'by hand'"))
    again = reopen()
    ((found, advice),) = again.journal.unknown()
    assert found.runs_on == "by hand, process 0"
    assert json.dumps(advice)
    assert again.journal.interrupted() == []


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("started_at", "'yesterday'", "0001-01-01"),
        ("started_at", "5", "0001-01-01"),
        ("completed_at", "'2024'", "0001-01-01"),
        ("metadata", "'nonsense'", "{'unreadable': 'nonsense'}"),
        ("metadata", "'[1]'", "{'unreadable': [1]}"),
        ("command_args", "'5'", "{'unreadable': 5}"),
    ],
)
def test_one_unreadable_value_does_not_hide_the_other_operations(
    column: str, value: str, shown: str, sqlite_catalog: Catalog
) -> None:
    """SQLite stores any text in any column."""
    upload(sqlite_catalog, "/a")
    upload(sqlite_catalog, "/b")
    with without_triggers(sqlite_catalog) as connection:
        connection.exec_driver_sql(f"UPDATE operations SET {column} = {value} WHERE seq = 1")
    sqlite_catalog.close()
    again = open_catalog(f"sqlite:///{sqlite_catalog.database.path}")
    second, first = again.metadata.list_operations()
    assert (second.target_path, first.target_path) == ("/b", "/a")
    assert shown in str(first.as_dict()[column])
    assert first.duration_seconds is not None
    assert [each.operation_id for each in again.audit.verification().findings()] == [first.operation_id]
    again.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("tags", "'nonsense'"), ("tags", "'[1]'"), ("recorded_at", "'junk'"), ("modified_at", "'junk'")],
)
def test_one_unreadable_value_does_not_hide_the_other_files(
    column: str, value: str, sqlite_catalog: Catalog, make_archive: Callable[..., FileRecord]
) -> None:
    for key in ("a.tar.gz", "b.tar.gz"):
        sqlite_catalog.metadata.save_file_record(make_archive(key, tags={"year": "2026"}))
    with sqlite_catalog.database.migrating() as connection:
        connection.exec_driver_sql(f"UPDATE files SET {column} = {value} WHERE id = 1")
    sqlite_catalog.close()
    again = open_catalog(f"sqlite:///{sqlite_catalog.database.path}")
    assert [file.path for file in again.metadata.list_files()] == ["a.tar.gz", "b.tar.gz"]
    assert [file.path for file in again.metadata.search_files("tar", tags={"year": "2026"})][:1] == ["b.tar.gz"]
    again.close()


@pytest.mark.parametrize("seq", ["'text'", "x'00'", str((1 << 63) - 1)])
def test_an_operation_with_a_foreign_number_does_not_keep_others_from_being_recorded(
    seq: str, sqlite_catalog: Catalog, tmp_path: Path
) -> None:
    upload(sqlite_catalog, "/a")
    with sqlite_catalog.database.migrating() as connection:
        statement = OPERATION.replace("{seq}", ", seq").replace("{number}", f", {seq}")
        insert(connection, statement, **rogue(type="batch"))
    sqlite_catalog.close()
    again = open_catalog(f"sqlite:///{sqlite_catalog.database.path}")
    upload(again, "/b")
    upload(again, "/c")
    numbers = {each.target_path: each.seq for each in again.metadata.list_operations()}
    assert (numbers["/a"], numbers["/b"], numbers["/c"]) == (1, 2, 3)
    assert [each.message for each in soundness.check(again.database)] == [
        "1 operations whose seq is not a number, or the greatest"
    ]
    assert [each.operation_id for each in again.audit.verification().findings()] == ["r1"]
    with closing(open_catalog(f"sqlite:///{tmp_path}/other.db")) as other:
        exported = io.BytesIO()
        export(again.database, exported, members=True)
        with pytest.raises(IntegrityError, match=r"operations\.seq, a number: nothing was imported|its seals: r1: "):
            import_history(other.database, io.BytesIO(exported.getvalue()))
    again.close()
