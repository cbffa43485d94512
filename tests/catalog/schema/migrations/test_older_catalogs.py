"""Catalogs of older revisions: their data are kept, and their exports are imported."""

import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256

import pytest

from mgmt.catalog import (
    HEAD,
    Catalog,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    JobRecord,
    Location,
    NewJob,
    OperationRecord,
    Role,
    SearchRecord,
    Status,
    UploadRecord,
    VerifyRecord,
    open_catalog,
)
from mgmt.catalog.audit.export import export
from mgmt.catalog.audit.import_history import import_history
from mgmt.catalog.db.database import Database
from mgmt.catalog.schema import migrate, soundness
from mgmt.catalog.schema.defect import Defect
from mgmt.errors import CatalogError
from tests.catalog.schema.migrations.dumps import WHERE_MEMBERS_ARE, contents, objects

OLD = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")


@pytest.mark.parametrize("before", OLD)
def test_an_old_catalog_is_refused_until_upgraded_and_keeps_its_data(before: str, old: str) -> None:
    held, made = contents(old), objects(old)
    catalog = open_catalog(f"sqlite:///{old}")
    with pytest.raises(CatalogError, match=f"older schema {before}") as caught:
        catalog.metadata.list_files()
    assert caught.value.next_step == "mgmt db upgrade"
    assert objects(old) == made

    migrate.upgrade(catalog.database)
    assert soundness.check(catalog.database) == []
    assert contents(old) == held
    history = catalog.audit.verification()
    assert list(history.findings()) == []
    assert (history.operations, history.seals, history.live) == (3 + ("searches" in held), 1, 1 + ("jobs" in held))
    with closing(sqlite3.connect(old)) as connection:
        for name, rows in WHERE_MEMBERS_ARE.items():
            assert connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() == rows

    (upload,) = catalog.metadata.get_upload_history("/films/caf\udce9")
    assert (upload.original_size, upload.duration_seconds, upload.status) == (5_000_000_000, 10.5, Status.SUCCESS)
    archive = catalog.metadata.latest_archive("/films/caf\udce9")
    assert [member.path for member in catalog.members.list(archive.id)][1:] == [
        "caf\udce9/Été.jpg",
        "caf\udce9/wedding.mov",
        "caf\udce9/link",
    ]
    assert [m.path for m, _ in catalog.members.search("WEDDING")] == ["caf\udce9/wedding.mov"]
    assert [m.path for m, _ in catalog.members.search("caf\udce9/w")] == ["caf\udce9/wedding.mov"]

    migrate.downgrade(catalog.database, before)
    assert (contents(old), objects(old)) == (held, made)
    catalog.close()


def test_upgrade_seals_finished_operations(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    """The revision computes hashes by its own code, which must agree with mgmt/catalog/audit/canonical.py."""
    operations: list[OperationRecord] = [
        UploadRecord(target_path="/films/caf\udce9", command_args={"é": [1.5, None]}, original_size=5_000_000_000),
        DownloadRecord(target_path="a.tar.gz", local_path="/caf\udce9"),
        SearchRecord(keyword="k", total_matches=1, local_matches=None, s3_matches=None),  # as before 0008
        VerifyRecord(store="file:///store"),
        DeleteRecord(result_path="x"),
    ]
    for operation in operations:
        with catalog.journal.record(operation):
            archive = FileRecord(path="caf\udce9.tar.gz", location=Location.S3, store="file:///store")
            local = FileRecord(path="/caf\udce9", location=Location.LOCAL, host="nas")
            for role, file in ((Role.ARCHIVE, archive), (Role.SOURCE, local)):
                catalog.journal.link(operation, catalog.metadata.save_file_record(file), role)
    catalog.metadata.save_operation(UploadRecord(target_path="/running"))
    hashes = {operation.operation_id: operation.sha256 for operation in operations}

    migrate.downgrade(catalog.database, "0003")
    migrate.upgrade(catalog.database)
    other = reopen()
    found = [each for each in other.metadata.list_operations() if each.sha256 is not None]
    assert {each.operation_id: each.sha256 for each in found} == hashes
    assert [each.seal for each in found] == [1] * 5
    assert list(other.audit.verification().findings()) == []
    assert soundness.check(catalog.database) == []


@pytest.mark.parametrize("before", ["0007"])
def test_a_search_of_before_0008_keeps_its_facts_and_its_hash(old: str) -> None:
    migrate.upgrade(Database(f"sqlite:///{old}"))
    catalog = open_catalog(f"sqlite:///{old}")
    (search,) = catalog.metadata.list_operations("search")
    assert isinstance(search, SearchRecord)
    assert (search.local_count, search.s3_count, search.total_matches) == (1, 2, 3)
    assert (search.was_downloaded, search.was_checked) == (True, False)
    unknown = (search.local_matches, search.s3_matches, search.download_selected, search.status_checked)
    assert unknown == (None, None, None, None)
    assert list(catalog.audit.verification().findings()) == []
    catalog.close()


@pytest.mark.parametrize("before", ["0007"])
def test_an_export_of_an_older_schema_is_imported(old: str, catalog: Catalog) -> None:
    migrate.upgrade(Database(f"sqlite:///{old}"))
    upgraded = Database(f"sqlite:///{old}")
    exported = io.BytesIO()
    export(upgraded, exported, members=True)
    upgraded.close()
    lines = exported.getvalue().splitlines(keepends=True)[:-1]
    assert f'"schema":"{HEAD}"'.encode() in lines[0]
    lines[0] = lines[0].replace(HEAD.encode(), b"0007")  # what else is in it is what 0007 exported
    end = {"lines": len(lines), "sha256": sha256(b"".join(lines)).hexdigest()}
    older = b"".join(lines) + json.dumps({"end": end}).encode() + b"\n"
    assert b"local_paths" not in older
    assert import_history(catalog.database, io.BytesIO(older)).operations == 5
    assert list(catalog.audit.verification().findings()) == []
    (search,) = catalog.metadata.list_operations("search")
    assert isinstance(search, SearchRecord)
    assert (search.total_matches, search.local_matches) == (3, None)


def test_an_older_catalog_with_foreign_rows_is_upgraded_and_they_are_named(catalog: Catalog) -> None:
    migrate.upgrade(catalog.database, "0008")
    seq = ", seq" if catalog.database.is_sqlite else ""
    with catalog.database.migrating() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, command_args{seq}) "
            f"VALUES ('r', 'rogue', '2026-01-01 00:00:00.000000', 'success', '{{}}', '{{}}'{', 1' if seq else ''})"
        )
        digest = "X'00'" if catalog.database.is_sqlite else "'x'"
        connection.exec_driver_sql(
            "INSERT INTO seals (sequence, sealed_at, operations, digest) "
            f"VALUES (999999, '2026-01-01 00:00:00.000000', '[]', {digest})"
        )
    migrate.upgrade(catalog.database)
    with catalog.journal.record(UploadRecord(target_path="/a")):
        pass
    assert catalog.audit.seal() == 1
    assert [each.target_path for each in catalog.metadata.list_operations()] == ["/a", None]
    assert [each.message for each in soundness.check(catalog.database)] == [
        "1 operations of the unknown type 'rogue'",
        "seal 999999 is not the first",
    ]
    migrate.downgrade(catalog.database, "0008")


@pytest.mark.parametrize("before", ["0009"])
def test_a_catalog_of_0009_takes_requests_once_it_is_upgraded(old: str) -> None:
    catalog = open_catalog(f"sqlite:///{old}")
    migrate.upgrade(catalog.database)
    catalog.queue.add([NewJob(VerifyRecord(), JobRecord(operation_id="", command="verify", queue="any"))])
    assert [(job.command, operation.status) for job, operation in catalog.queue.jobs()] == [("verify", "pending")]
    assert soundness.check(catalog.database) == []
    catalog.close()


def test_check_reports_orphans_and_damage(old: str) -> None:
    database = Database(f"sqlite:///{old}")
    assert soundness.check(database) == [Defect(f"the schema is 0001, expected {HEAD}", "mgmt db upgrade")]
    migrate.upgrade(database)
    database.close()
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("DELETE FROM directories WHERE id = 1")
        connection.commit()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_files_name'").fetchone()
        connection.execute("PRAGMA journal_mode=DELETE")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(old, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\x0a" + bytes(size - 1))  # the index, emptied
    problems = [each.message for each in soundness.check(database)]
    assert "orphan: row 1 of members refers to a missing row of directories" in problems
    assert any("damage:" in problem and "ix_files_name" in problem for problem in problems)
    database.close()
