"""The audit trail: finished operations are immutable, hashed and sealed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from sqlalchemy import text

from mgmt.catalog import (
    Catalog,
    DownloadRecord,
    FileRecord,
    OperationRecord,
    Role,
    SearchRecord,
    Status,
    Tampering,
    UploadRecord,
    VerifyRecord,
    open_catalog,
)
from mgmt.catalog.audit import canonical, chain
from mgmt.catalog.audit.canonical import canonical_rows
from mgmt.catalog.audit.seals import seals
from mgmt.catalog.schema import soundness
from mgmt.errors import CatalogError, StoreError
from tests.behind import REOPENED, behind
from tests.forked import child

Reopen = Callable[[], Catalog]
Make = Callable[..., FileRecord]


@pytest.fixture
def ended(catalog: Catalog, make_archive: Make) -> UploadRecord:
    """A finished upload with an archive, after one operation of each type with a sub-table."""
    for operation in (DownloadRecord(), SearchRecord(keyword="k"), VerifyRecord()):
        with catalog.journal.record(operation):
            pass
    upload = UploadRecord(target_path="/films/caf\udce9", command_args={"level": "fast"})
    with catalog.journal.record(upload):
        catalog.journal.link(upload, catalog.metadata.save_file_record(make_archive("a.tar.gz")), Role.ARCHIVE)
        upload.original_size = 5_000_000_000
    catalog.metadata.save_operation(UploadRecord(target_path="/running", status=Status.RUNNING))
    return upload


def text_of(catalog: Catalog, operation: OperationRecord) -> bytes:
    with catalog.database.reading() as session:
        (found,) = canonical_rows(session.connection(), "o.operation_id = :id", {"id": operation.operation_id})
    return found.text


def test_the_canonical_text_is_the_same_on_both_databases(catalog: Catalog, make_archive: Make) -> None:
    """Byte for byte: a change of this text changes every existing hash."""
    upload = UploadRecord(
        operation_id="11111111-0000-4000-8000-000000000001",
        target_path="/films/caf\udce9",
        started_at=datetime(2024, 3, 1, 1, 59, 59, tzinfo=timezone(timedelta(hours=2))),
        completed_at=datetime(2024, 3, 1, 0, 0, 0, 123456, tzinfo=UTC),
        command_args={"z": [1, None], "é": "ü"},
        original_size=5_000_000_000,
        status=Status.SUCCESS,
    )
    search = SearchRecord(
        operation_id="2",
        keyword="k",
        status=Status.FAILED,
        started_at=datetime(2024, 1, 1, tzinfo=UTC),
        completed_at=datetime(2024, 1, 1, tzinfo=UTC),
        download_selected="k.tar.gz",
        s3_matches=["caf\udce9.tar.gz"],
    )
    with catalog.database.transaction():
        catalog.metadata.save_operation(upload)
        local = {"store": None, "location": "local", "host": "nas", "s3_object_key": None}
        for path, role, facts in (("b.tar.gz", Role.ARCHIVE, {}), ("/caf\udce9", Role.SOURCE, local)):
            archive = make_archive("b.tar.gz")
            for name, value in {"path": path, "name": path, **facts}.items():
                setattr(archive, name, value)
            catalog.journal.link(upload, catalog.metadata.save_file_record(archive), role)
    catalog.metadata.save_operation(search)
    assert text_of(catalog, upload).decode() == (
        '{"files":[["archive","s3","file:///store","b.tar.gz",null],'
        '["source","local","nas","/caf\\\\xe9",{"hex":"2f636166e9"}]],'
        '"format":1,"operations":{"command_args":{"z":[1,null],"\\u00e9":"\\u00fc"},'
        '"completed_at":"2024-03-01T00:00:00.123456Z","metadata":{},'
        '"operation_id":"11111111-0000-4000-8000-000000000001","operation_type":"upload","seq":1,'
        '"started_at":"2024-02-29T23:59:59.000000Z","status":"success","target_name":"caf\\\\xe9",'
        '"target_name_bytes":{"hex":"636166e9"},"target_path":"/films/caf\\\\xe9",'
        '"target_path_bytes":{"hex":"2f66696c6d732f636166e9"}},'
        '"uploads":{"compression_type":"gzip","original_size":5000000000}}'
    )
    assert text_of(catalog, search).endswith(
        b'"searches":{"download_selected":true,"downloaded_key":"k.tar.gz","keyword":"k","local_matches":0,'
        b'"local_paths":[],"location":"global","s3_keys":["caf\\udce9.tar.gz"],"s3_matches":0,'
        b'"status_checked":false,"total_matches":0}}'
    )
    assert upload.sha256 == sha256(text_of(catalog, upload)).digest()


def test_the_hash_is_committed_with_the_outcome(catalog: Catalog, ended: UploadRecord, reopen: Reopen) -> None:
    stored = reopen().metadata.require_operation(ended.operation_id)
    assert stored.sha256 == ended.sha256 == sha256(text_of(catalog, ended)).digest()
    with pytest.raises(StoreError), catalog.journal.record(UploadRecord()) as failed:
        raise StoreError("no")
    assert reopen().metadata.require_operation(failed.operation_id).sha256 is not None
    running = [each for each in catalog.journal.running() if each.sha256 is None]
    assert len(running) == 1


def test_a_rolled_back_close_leaves_no_hash(catalog: Catalog, reopen: Reopen) -> None:
    def fail() -> None:
        with catalog.database.transaction():
            catalog.journal.close(operation)
            raise StoreError("no")

    operation = UploadRecord()
    catalog.metadata.save_operation(operation)
    with pytest.raises(StoreError):
        fail()
    assert reopen().metadata.require_operation(operation.operation_id).sha256 is None
    catalog.journal.close(operation)
    assert reopen().metadata.require_operation(operation.operation_id).sha256 is not None


REFUSED = [
    "UPDATE operations SET status = 'running' WHERE operation_id = :id",
    "UPDATE operations SET error_message = 'x' WHERE operation_id = :id",
    "UPDATE operations SET completed_at = NULL WHERE operation_id = :id",
    "UPDATE operations SET operation_id = 'another' WHERE operation_id = :id",
    "UPDATE operations SET seq = 4711 WHERE operation_id = :id",
    "UPDATE operations SET sha256 = NULL WHERE operation_id = :id",
    "UPDATE operations SET seal = NULL WHERE operation_id = :id",
    "UPDATE operations SET seal = 4711, error_message = 'x' WHERE operation_id = :id",
    "UPDATE operations SET operation_id = 'another' WHERE status = 'running'",
    "UPDATE operations SET sha256 = operation_id::bytea WHERE status = 'running'",
    "UPDATE operations SET seal = 4711 WHERE status = 'running'",
    "DELETE FROM operations WHERE operation_id = :id",
    "UPDATE uploads SET original_size = 1 WHERE operation_id = :id",
    "UPDATE uploads SET operation_id = :id WHERE operation_id <> :id",
    "DELETE FROM uploads WHERE operation_id = :id",
    "INSERT INTO downloads (operation_id) VALUES (:id)",
    "UPDATE downloads SET local_path = 'x'",
    "DELETE FROM downloads",
    "UPDATE searches SET total_matches = 1",
    "DELETE FROM searches",
    "UPDATE verifications SET problems_found = 0",
    "DELETE FROM verifications",
    "UPDATE operation_files SET role = 'source'",
    "DELETE FROM operation_files",
    "INSERT INTO operation_files (operation_id, file_id, role) SELECT :id, id, 'index' FROM files",
    "UPDATE seals SET sealed_at = sealed_at",
    "UPDATE seals SET digest = previous",
    "DELETE FROM seals",
]
INSERT_OR_REPLACE = (
    "INSERT OR REPLACE INTO operations (operation_id, operation_type, started_at, status, metadata, command_args, seq) "
    "VALUES "
)
ON_CONFLICT = "ON CONFLICT (operation_id) DO UPDATE SET status = 'failed'"
ONLY_SQLITE = [
    "REPLACE INTO operations SELECT * FROM operations WHERE operation_id = :id",
    f"{INSERT_OR_REPLACE} (:id, 'delete', '2024', 'running', '{{}}', '{{}}', 4711)",
    f"{INSERT_OR_REPLACE} ('another', 'delete', '2024', 'running', '{{}}', '{{}}', 1)",
    "REPLACE INTO uploads SELECT * FROM uploads WHERE operation_id = :id",
    "REPLACE INTO operation_files SELECT * FROM operation_files",
    "REPLACE INTO seals SELECT * FROM seals",
    "UPDATE OR REPLACE operations SET operation_id = :id WHERE status = 'running'",
    "UPDATE OR REPLACE operations SET seq = 1 WHERE status = 'running'",
]
ONLY_POSTGRESQL = [
    f"INSERT INTO operations SELECT * FROM operations WHERE operation_id = :id {ON_CONFLICT}",
    "TRUNCATE operations CASCADE",
    "TRUNCATE uploads",
    "TRUNCATE downloads, searches, verifications",
    "TRUNCATE operation_files",
    "TRUNCATE seals",
]


def run(catalog: Catalog, statement: str, ended: OperationRecord, *, recursive: bool) -> None:
    is_sqlite = catalog.database.is_sqlite
    with catalog.database.migrating() as connection:
        if is_sqlite:
            connection.exec_driver_sql(f"PRAGMA recursive_triggers={recursive}")
        done = statement.replace("::bytea", "") if is_sqlite else statement
        connection.execute(text(done), {"id": ended.operation_id} if ":id" in done else {})


@pytest.mark.parametrize("recursive", [True, False], ids=["recursive triggers on", "recursive triggers off"])
def test_the_database_refuses_to_change_a_finished_operation(
    catalog: Catalog, ended: UploadRecord, recursive: bool
) -> None:
    catalog.audit.seal()
    for statement in REFUSED + (ONLY_SQLITE if catalog.database.is_sqlite else ONLY_POSTGRESQL):
        with pytest.raises(CatalogError, match=r"cannot be changed|must have the next number"):
            run(catalog, statement, ended, recursive=recursive)
    assert list(catalog.audit.verification().findings()) == []


def test_a_live_operation_can_be_changed(catalog: Catalog, ended: UploadRecord) -> None:
    (operation,) = catalog.journal.running()
    operation.stage = "sending"
    catalog.journal.checkpoint()
    with catalog.database.transaction() as session:
        session.execute(
            text("UPDATE uploads SET upload_id = 'u' WHERE operation_id <> :id"), {"id": ended.operation_id}
        )
    catalog.journal.close(operation)


def test_check_reports_a_missing_trigger(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    assert soundness.check(catalog.database) == []
    on = "" if catalog.database.is_sqlite else " ON seals"
    name = "seals_update" if catalog.database.is_sqlite else "seals_keep"
    with catalog.database.migrating() as connection:
        connection.execute(text(f"DROP TRIGGER {name}{on}"))
    assert [each.message for each in soundness.check(catalog.database)] == [f"trigger {name} is missing"]


def test_seals_are_a_chain(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, reopen: Reopen) -> None:
    monkeypatch.setattr(chain, "BATCH", 3)
    assert catalog.audit.head() is None
    assert catalog.audit.seal() == 0
    for number in range(7):
        with catalog.journal.record(UploadRecord(target_path=f"/{number}")):
            pass
    assert catalog.audit.seal() == 7
    assert catalog.audit.seal() == 0
    with reopen().database.snapshot() as connection:
        written = seals(connection, 0, 10)
    assert [len(seal.listed()) for seal in written] == [3, 3, 1]
    assert [seal.previous for seal in written] == [None, written[0].digest, written[1].digest]
    assert all(seal.digest == seal.expected_digest for seal in written)
    verification = catalog.audit.verification()
    assert list(verification.findings()) == []
    assert (verification.operations, verification.seals, verification.unsealed) == (7, 3, 0)


def test_close_seals_operations_that_finished_here(reopen: Reopen) -> None:
    catalog = reopen()
    with catalog.journal.record(UploadRecord()):
        pass
    catalog.close()
    other = reopen()
    assert other.audit.head() is not None
    other.metadata.save_operation(UploadRecord())
    other.close()
    assert reopen().audit.head() is not None
    assert reopen().audit.seal() == 0


def test_an_operation_that_finishes_late_gets_a_later_seal(catalog: Catalog) -> None:
    late = UploadRecord(target_path="/late")
    catalog.metadata.save_operation(late)
    with catalog.journal.record(UploadRecord(target_path="/early")):
        pass
    catalog.audit.seal()
    catalog.journal.close(late)
    assert catalog.audit.seal() == 1
    assert list(catalog.audit.verification().findings()) == []


def seal_ten(url: str) -> None:
    for number in range(10):
        catalog = open_catalog(url)
        with catalog.journal.record(UploadRecord(target_path=f"/{number}")):
            pass
        catalog.close()


def test_concurrent_processes_seal_each_operation_once(url: str, reopen: Reopen) -> None:
    running = [child(lambda: seal_ten(url)) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0)] * 4
    catalog = reopen()
    catalog.audit.seal()
    verification = catalog.audit.verification()
    assert list(verification.findings()) == []
    assert (verification.operations, verification.unsealed, verification.live) == (40, 0, 0)


def test_verification_reads_a_snapshot(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(UploadRecord()):
        pass
    catalog.audit.seal()
    with catalog.database.snapshot() as connection:
        other = reopen()
        with other.journal.record(UploadRecord()):
            pass
        other.audit.seal()
        verification = catalog.audit.verification()
        assert list(verification.findings_in(connection)) == []
        assert verification.seals == 1


def test_verify_reports_a_finished_operation_without_a_hash(sqlite_catalog: Catalog) -> None:
    sqlite_catalog.metadata.save_operation(UploadRecord(operation_id="u"))
    with sqlite_catalog.database.transaction() as session:
        session.execute(text("UPDATE operations SET status = 'success'"))
    sqlite_catalog.audit.seal()
    (found,) = sqlite_catalog.audit.verification().findings()
    assert (found.problem, found.operation_id) == (Tampering.INSERTED, "u")


def test_verify_reports_a_reopened_operation(sqlite_catalog: Catalog) -> None:
    with sqlite_catalog.journal.record(UploadRecord(operation_id="u")):
        pass
    sqlite_catalog.audit.seal()
    assert sqlite_catalog.database.path is not None
    with behind(sqlite_catalog.database.path) as connection:
        connection.execute(f"UPDATE operations SET {REOPENED}")
    (found,) = sqlite_catalog.audit.verification().findings()
    assert (found.problem, found.operation_id, found.seal) == (Tampering.EDITED, "u", 1)


def test_memory_stays_flat(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of operations loaded together does not depend on the length of the history."""
    asked = []
    real = canonical.canonical_rows

    def counted(*arguments: object) -> list[canonical.CanonicalRow]:
        found = list(real(*arguments))  # type: ignore[arg-type]
        asked.append(len(found))
        return iter(found)  # type: ignore[return-value]

    monkeypatch.setattr("mgmt.catalog.audit.verification.canonical_rows", counted)
    monkeypatch.setattr("mgmt.catalog.audit.verification.CHUNK", 5)
    monkeypatch.setattr(chain, "BATCH", 3)
    for _ in range(30):
        catalog.metadata.save_operation(UploadRecord(status=Status.SUCCESS))
    catalog.audit.seal()
    for _ in range(17):
        catalog.metadata.save_operation(UploadRecord(status=Status.SUCCESS))
    verification = catalog.audit.verification()
    assert list(verification.findings()) == []
    assert (verification.operations, verification.unsealed) == (30, 17)
    assert max(asked) <= 6


def test_verify_reports_values_of_a_wrong_type_as_edits(sqlite_catalog: Catalog) -> None:
    with sqlite_catalog.journal.record(UploadRecord(operation_id="u", target_path="/a")):
        pass
    sqlite_catalog.audit.seal()
    assert sqlite_catalog.database.path is not None
    for corrupt in ("CAST(X'ff' AS TEXT)", "X'ff'", "4711", "'x'"):
        with behind(sqlite_catalog.database.path) as connection:
            connection.execute(f"UPDATE operations SET target_path = {corrupt}, started_at = {corrupt}")
        (found,) = sqlite_catalog.audit.verification().findings()
        assert (found.problem, found.operation_id) == (Tampering.EDITED, "u")
