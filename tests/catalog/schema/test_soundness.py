"""What `mgmt db check` finds, and what its repair mends."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import text

from mgmt.catalog import HEAD, Catalog, FileRecord, Location, UploadRecord
from mgmt.catalog.audit import triggers
from mgmt.catalog.schema import migrate, soundness
from mgmt.errors import CatalogError

Reopen = Callable[[], Catalog]


def messages(catalog: Catalog) -> list[str]:
    return [each.message for each in soundness.check(catalog.database)]


def test_each_trigger_is_created_again(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    made = triggers.expected("sqlite" if catalog.database.is_sqlite else "postgresql")
    with catalog.database.migrating() as connection:
        for name, statement in made.items():
            if name not in triggers.FUNCTIONS:
                on = "" if catalog.database.is_sqlite else f" ON {statement.split(' ON ')[1].split()[0]}"
                connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")
        for name in () if catalog.database.is_sqlite else triggers.FUNCTIONS:
            connection.exec_driver_sql(f"DROP FUNCTION {name}()")
    assert messages(catalog) == [f"trigger {name} is missing" for name in made]
    assert {each.remedy for each in soundness.check(catalog.database)} == {"mgmt db check --repair"}
    assert [each.message for each in soundness.repair(catalog.database)] == [
        f"trigger {name} is missing" for name in made
    ]
    assert messages(catalog) == []
    assert soundness.repair(catalog.database) == []


def test_a_changed_and_a_disabled_trigger_are_restored(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with catalog.database.migrating() as connection:
        if catalog.database.is_sqlite:
            connection.exec_driver_sql("DROP TRIGGER seals_update")
            never = "CREATE TRIGGER seals_update BEFORE UPDATE ON seals WHEN FALSE BEGIN SELECT 1; END"
            connection.exec_driver_sql(never)
        else:
            connection.exec_driver_sql("ALTER TABLE seals DISABLE TRIGGER seals_keep")
            connection.exec_driver_sql(
                "CREATE OR REPLACE FUNCTION mgmt_refuse() RETURNS trigger LANGUAGE plpgsql "
                "AS $$BEGIN RETURN NULL; END$$"
            )
    assert len(messages(catalog)) == (1 if catalog.database.is_sqlite else 2)
    soundness.repair(catalog.database)
    assert messages(catalog) == []


def test_a_missing_index_is_created_again(catalog: Catalog) -> None:
    catalog.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="h"))
    with catalog.database.migrating() as connection:
        connection.exec_driver_sql("DROP INDEX ix_files_name")
        connection.exec_driver_sql("DROP INDEX uq_operations_claim")
    assert len(messages(catalog)) == 2
    assert len(soundness.repair(catalog.database)) == 2
    assert messages(catalog) == []


def test_a_repair_leaves_what_it_cannot_mend(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with catalog.database.migrating() as connection:
        connection.exec_driver_sql("CREATE TABLE recipes (id INTEGER)")
    assert soundness.repair(catalog.database) == []
    (found,) = soundness.check(catalog.database)
    assert "recipes" in found.message
    assert "schema of its own" in found.remedy


def test_an_older_schema_is_upgraded_not_repaired(catalog: Catalog) -> None:
    migrate.upgrade(catalog.database, "0007")
    (found,) = soundness.check(catalog.database)
    assert (found.message, found.remedy) == (f"the schema is 0007, expected {HEAD}", "mgmt db upgrade")
    with pytest.raises(CatalogError, match="older schema"):
        soundness.repair(catalog.database)


def test_orphans_do_not_hinder_a_repair(sqlite_catalog: Catalog) -> None:
    sqlite_catalog.metadata.list_files()
    sqlite_catalog.close()
    with closing(sqlite3.connect(str(sqlite_catalog.database.path))) as connection:
        connection.execute("INSERT INTO operation_files VALUES ('none', 1, 'archive')")
        connection.execute("DROP TRIGGER seals_delete")
        connection.commit()
    soundness.repair(sqlite_catalog.database)
    assert [message.partition(":")[0] for message in messages(sqlite_catalog)] == ["orphan", "orphan"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_sequences_behind_their_rows_are_advanced(catalog: Catalog, reopen: Reopen) -> None:
    """As on a logical replica, to which rows are replicated and sequences are not."""
    for path in ("/a", "/b", "/c"):
        with catalog.journal.record(UploadRecord(target_path=path)):
            catalog.metadata.save_file_record(FileRecord(path=path, location=Location.LOCAL, host="h"))
    with catalog.database.migrating() as connection:
        for table, column in soundness.NUMBERED.items():
            connection.exec_driver_sql(f"ALTER SEQUENCE {table}_{column}_seq RESTART")
    other = reopen()
    with pytest.raises(CatalogError), other.journal.record(UploadRecord(target_path="/d")):
        pass
    found = soundness.check(catalog.database)
    assert [each.message for each in found] == [
        "the sequence public.operations_seq_seq is at 1, and rows go up to 3",
        "the sequence public.files_id_seq is at 0, and rows go up to 3",
    ]
    assert found[0].remedy == "SELECT setval('public.operations_seq_seq', 3)"
    with catalog.database.migrating() as connection:
        connection.execute(text(found[0].remedy))
    assert [each.message for each in soundness.repair(catalog.database)] == [found[1].message]
    assert soundness.check(catalog.database) == []
    with reopen().journal.record(UploadRecord(target_path="/d")) as upload:
        assert upload.seq == 4
