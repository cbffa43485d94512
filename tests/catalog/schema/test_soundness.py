"""What `mgmt db check` finds, and what its repair mends."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import event, text

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
    migrate.upgrade(catalog.database)
    migrate.downgrade(catalog.database, "0007")
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
def test_a_missing_index_on_an_expression_is_created_again(
    catalog: Catalog, make_archive: Callable[..., FileRecord]
) -> None:
    catalog.metadata.save_file_record(make_archive("a.tar.gz", tags={"year": "2026"}, size=5))
    with catalog.database.migrating() as connection:
        connection.exec_driver_sql("DROP INDEX ix_files_tags")
    assert messages(catalog) == ["index ix_files_tags is missing"]
    assert [each.message for each in soundness.repair(catalog.database)] == ["index ix_files_tags is missing"]
    assert messages(catalog) == []


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_tags_sizes_and_users_are_found_by_an_index(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    plans: list[str] = []
    asked: list[tuple[str, object]] = []
    with catalog.database.migrating() as connection:
        connection.exec_driver_sql(
            "INSERT INTO files (name, path, location, store, is_directory, tags, status, recorded_at, size) "
            "SELECT 'n' || g, 'n' || g, 's3', 's3://b', false, CAST('{\"n\": \"' || g || '\"}' AS json), 'completed', "
            "now(), g FROM generate_series(1, 3000) g"
        )
        connection.exec_driver_sql(
            'INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, command_args, "user") '
            "SELECT 'o' || g, 'status', now(), 'success', '{}', '{}', 'u' || g FROM generate_series(1, 3000) g"
        )
        connection.exec_driver_sql("ANALYZE files, operations")
    event.listen(
        catalog.database.bind(),
        "before_cursor_execute",
        lambda _c, _d, query, values, *_: asked.append((query, values)),
    )
    assert [file.name for file in catalog.metadata.search_files(tags={"n": "77"})] == ["n77"]
    assert [file.size for file in catalog.metadata.list_files(sort="-size", limit=2)] == [3000, 2999]
    assert [each.operation_id for each in catalog.metadata.list_operations(user="u5")] == ["o5"]
    with catalog.database.connection() as connection:
        for query, values in list(asked):
            driver: Any = connection.connection.driver_connection
            plans.append(str(driver.execute(f"EXPLAIN {query}", values).fetchall()))
    for index in ("ix_files_tags", "ix_files_size", "ix_operations_user_seq"):
        assert any(index in plan for plan in plans), (index, plans)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_tables_have_comments(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with catalog.database.connection() as connection:
        without = (
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND obj_description(oid, 'pg_class') IS NULL"
        )
        assert connection.execute(text(without)).scalars().all() == ["alembic_version"]


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


def test_check_reports_schema_differences(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with catalog.database.transaction() as session:
        session.execute(text("DROP INDEX ix_files_name"))
        session.execute(text("CREATE TABLE recipes (id INTEGER)"))
    problems = [each.message for each in soundness.check(catalog.database)]
    assert len(problems) == 2
    assert any("ix_files_name" in problem for problem in problems)
    assert any("recipes" in problem for problem in problems)
