"""The records: documented fields, exact names, times, computed properties and constraints."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event, text

from mgmt.catalog import (
    Catalog,
    DownloadRecord,
    FileRecord,
    FileStatus,
    Location,
    MetadataManager,
    OperationRecord,
    Place,
    PruneRecord,
    SearchRecord,
    Status,
    UndoRecord,
    UploadRecord,
    VerifyRecord,
)
from mgmt.catalog.records.types import display, exact, exact_bytes
from mgmt.errors import CatalogError, ConfigurationError

FILE = (
    "name path location size is_directory mime_type created_at modified_at accessed_at checksum tags status "
    "error_message"
)
OPERATION = (
    "operation_id operation_type target_path target_name started_at completed_at duration_seconds status result_path "
    "error_message metadata user command_args"
)
UPLOAD = (
    "compression_type original_size compressed_size compression_ratio s3_bucket s3_object_key s3_storage_class "
    "checksum_original checksum_compressed checksum_s3_etag completed_dir_path compressed_file_path"
)
DOWNLOAD = "s3_bucket s3_object_key s3_storage_class local_path downloaded_size checksum_s3_etag checksum_local"
TYPES = "upload download search verify delete free status config batch recover rebuild prune"
NEEDED: dict[type[OperationRecord], dict[str, Any]] = {
    SearchRecord: {"keyword": "k"},
    UndoRecord: {"undo_of": "an operation"},
    PruneRecord: {"ended_before": datetime(2026, 1, 1, tzinfo=UTC)},
}
SEARCH = "keyword location local_matches s3_matches total_matches download_selected status_checked"


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (FileRecord(path="/a", location=Location.LOCAL, host="h"), FILE),
        (UploadRecord(), f"{OPERATION} {UPLOAD}"),
        (DownloadRecord(), f"{OPERATION} {DOWNLOAD}"),
        (SearchRecord(keyword="k"), f"{OPERATION} {SEARCH}"),
        (VerifyRecord(), f"{OPERATION} proof checked_objects problems_found"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_as_dict_has_every_documented_field(record: FileRecord | OperationRecord, fields: str) -> None:
    shown = record.as_dict()
    assert set(fields.split()) <= shown.keys()
    assert not [name for name in shown if name.endswith("_bytes")]


def test_each_operation_type_loads_as_its_own_class(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    classes = [mapper.class_ for mapper in OperationRecord.__mapper__.self_and_descendants][1:]
    assert {cls.__mapper__.polymorphic_identity for cls in classes} >= set(TYPES.split())
    for cls in classes:
        catalog.metadata.save_operation(cls(**NEEDED.get(cls, {})))
    assert [type(operation) for operation in reopen().metadata.list_operations()] == classes[::-1]


def test_a_list_of_mixed_types_takes_one_query(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    for record in (
        UploadRecord(s3_object_key="u"),
        DownloadRecord(member="m"),
        SearchRecord(keyword="k"),
        VerifyRecord(),
    ):
        catalog.metadata.save_operation(record)
    statements: list[str] = []
    again = reopen()
    again.metadata.list_files()
    event.listen(again.database.bind(), "before_cursor_execute", lambda *a: statements.append(a[2]))
    shown = [operation.as_dict() for operation in again.metadata.list_operations()]
    assert [facts.get("keyword") for facts in shown] == [None, "k", None, None]
    assert len(statements) == 1


NAMES = [
    "/a/plain.mkv",
    "/a/Étude.mkv",
    "/a/e\u0301.mkv",
    "/a/\udcff\udcfe.mkv",
    "/a/\\xff",
    "/\udce9t\udce9/new\nline",
    "/a/'\"; --",
]


@pytest.mark.parametrize("path", NAMES)
def test_names_are_restored_byte_for_byte(path: str, catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    file = catalog.metadata.save_file_record(FileRecord(path=path, location=Location.LOCAL, host="h"))
    upload = UploadRecord(
        target_path=path,
        completed_dir_path=path,
        compressed_file_path=path,
        result_path=path,
        error_message=f"{path}: no",
    )
    catalog.metadata.save_operation(upload)
    download = DownloadRecord(target_path=path, local_path=path, member=path)
    catalog.metadata.save_operation(download)
    again = reopen().metadata
    found = again.require_file_record(file.id)
    assert (found.path, found.name) == (path, os.path.basename(path))
    assert again.require_file_record(Place(Location.LOCAL, "h", path)).id == file.id
    loaded = again.require_operation(upload.operation_id)
    assert isinstance(loaded, UploadRecord)
    assert {loaded.target_path, loaded.completed_dir_path, loaded.compressed_file_path, loaded.result_path} == {path}
    assert loaded.target_name == os.path.basename(path)
    assert loaded.error_message == f"{display(path)}: no"
    brought = again.require_operation(download.operation_id)
    assert isinstance(brought, DownloadRecord)
    assert (brought.local_path, brought.member) == (path, path)


def test_changing_a_name_replaces_its_bytes(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    upload = UploadRecord(target_path="/a", result_path="/\udcff")
    catalog.metadata.save_operation(upload)
    upload.result_path = "/plain"
    catalog.metadata.save_operation(upload)
    assert reopen().metadata.require_operation(upload.operation_id).result_path == "/plain"


def test_a_refreshed_record_keeps_its_exact_name(catalog: Catalog) -> None:
    file = catalog.metadata.save_file_record(FileRecord(path="/\udcff", location=Location.LOCAL, host="h"))
    with (
        pytest.raises(ZeroDivisionError),
        catalog.database.transaction(),
    ):  # a rollback expires every record
        raise ZeroDivisionError
    assert file.path == "/\udcff"


def test_a_name_that_is_not_utf8_has_a_display_text() -> None:
    assert display("caf\udce9") == r"caf\xe9"
    assert (exact_bytes("caf\udce9"), exact_bytes("café")) == (b"caf\xe9", None)
    assert exact(r"caf\xe9", b"caf\xe9") == "caf\udce9"


def test_times_keep_microseconds(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=timezone(timedelta(hours=-7)))
    saved = catalog.metadata.save_file_record(
        FileRecord(path="/a", location=Location.LOCAL, host="h", modified_at=moment, created_at=None)
    )
    found = reopen().metadata.require_file_record(saved.id)
    assert found.modified_at == moment
    assert found.modified_at is not None
    assert found.modified_at.utcoffset() == timedelta(0)
    assert found.created_at is None


def test_a_naive_time_is_local(catalog: Catalog, local_zone: timedelta) -> None:
    naive = datetime(2024, 1, 1, 12)  # noqa: DTZ001
    moment = datetime(2024, 1, 1, 12, tzinfo=timezone(local_zone))
    file = FileRecord(path="/a", location=Location.LOCAL, host="h", modified_at=naive)
    assert file.modified_at == moment
    upload = UploadRecord(started_at=naive)
    upload.completed_at = moment
    assert upload.duration_seconds == 0
    metadata = catalog.metadata
    metadata.save_file_record(file)
    metadata.save_operation(upload)
    later = naive + timedelta(microseconds=1)
    assert metadata.search_files(since=naive) == metadata.search_files(until=later) == [file]
    assert metadata.search_files(since=later) == metadata.search_files(until=naive) == []
    assert metadata.list_operations(start_date=naive, end_date=later) == [upload]
    assert metadata.list_operations(start_date=later) == metadata.list_operations(end_date=naive) == []


@pytest.fixture
def local_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[timedelta]:
    """The offset of this machine's time zone, which is not UTC."""
    monkeypatch.setenv("TZ", "MGMT-05:30")
    time.tzset()
    yield timedelta(hours=5, minutes=30)
    monkeypatch.undo()
    time.tzset()


def test_words_are_taken_as_text(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    file = FileRecord(path="/a", location="local", host="h", status="completed")  # type: ignore[arg-type]
    assert (file.location, file.status) == (Location.LOCAL, FileStatus.COMPLETED)
    assert file.status is FileStatus.COMPLETED
    file.status = "failed"  # type: ignore[assignment]
    assert file.status is FileStatus.FAILED
    catalog.metadata.save_file_record(file)
    catalog.metadata.save_operation(UploadRecord(status="running"))  # type: ignore[arg-type]
    again = reopen().metadata
    assert [each.path for each in again.search_files(location="local", status="failed")] == ["/a"]
    assert [each.path for each in again.list_files(location="local", status="failed")] == ["/a"]
    assert [each.status for each in again.list_operations(status="running")] == [Status.RUNNING]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: FileRecord(path="/a", location="cloud", host="h"),  # type: ignore[arg-type]
        lambda _: UploadRecord(status="cloud"),  # type: ignore[arg-type]
        lambda metadata: metadata.search_files(status="cloud"),
        lambda metadata: metadata.list_files(location="cloud"),
        lambda metadata: metadata.list_operations(status="cloud"),
    ],
)
def test_an_unknown_word_is_refused_and_the_known_ones_named(
    wrong: Callable[[MetadataManager], object], catalog: Catalog
) -> None:
    with pytest.raises(ConfigurationError, match=r"^unknown \w+ 'cloud': use one of \w+, \w+"):
        wrong(catalog.metadata)


def test_metadata_in_a_constructor_means_details(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    facts: dict[str, Any] = {"metadata": {"note": "first"}}
    upload = UploadRecord(target_path="/a", **facts)
    assert upload.details == upload.as_dict()["metadata"] == {"note": "first"}
    catalog.metadata.save_operation(upload)
    assert reopen().metadata.require_operation(upload.operation_id).details == {"note": "first"}


def test_a_search_keeps_what_was_found_and_picked(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    search = SearchRecord(keyword="k")
    assert (search.local_matches, search.s3_matches) == ([], [])
    with catalog.journal.record(search):
        search.local_matches, search.s3_matches = ["/caf\udce9"], ["a.tar.gz", "b\udcff.tar.gz"]
        search.total_matches = search.s3_count = 120
        search.download_selected = "a.tar.gz"
    found = reopen().metadata.require_operation(search.operation_id)
    assert isinstance(found, SearchRecord)
    assert (found.local_matches, found.s3_matches) == (["/caf\udce9"], ["a.tar.gz", "b\udcff.tar.gz"])
    assert (found.download_selected, found.was_downloaded) == ("a.tar.gz", True)
    assert (found.status_checked, found.was_checked) == (None, False)
    shown = found.as_dict()
    assert shown["local_matches"] == ["/caf\udce9"]
    assert (shown["s3_count"], shown["total_matches"], shown["download_selected"]) == (120, 120, "a.tar.gz")


def test_computed_properties() -> None:
    began = datetime(2024, 1, 1, tzinfo=UTC)
    upload = UploadRecord(
        started_at=began, completed_at=began + timedelta(seconds=90), original_size=1000, compressed_size=370
    )
    assert upload.compression_ratio is not None
    assert (upload.duration_seconds, round(upload.compression_ratio, 4)) == (90.0, 2.7027)
    assert (UploadRecord().duration_seconds, UploadRecord().compression_ratio) == (None, None)
    assert UploadRecord(original_size=0, compressed_size=40).compression_ratio == 0
    assert UploadRecord(original_size=40, compressed_size=0).compression_ratio is None


def test_the_name_and_the_mime_type_follow_from_the_path() -> None:
    file = FileRecord(path="/films/a.mp4", location=Location.LOCAL, host="h")
    assert (file.name, file.mime_type) == ("a.mp4", "video/mp4")
    given = FileRecord(path="/films/a.mp4", location=Location.LOCAL, host="h", name="b", mime_type="text/plain")
    assert (given.name, given.mime_type) == ("b", "text/plain")
    assert UploadRecord(target_path="/films/a.mp4").target_name == "a.mp4"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE operations SET status = 'done'",
        "UPDATE files SET status = 'done'",
        "UPDATE files SET location = 'cloud'",
        "UPDATE files SET store = 'file:///store'",
        "UPDATE files SET host = NULL",
        "UPDATE operations SET parent_id = 'nobody'",
        "INSERT INTO operation_files (operation_id, file_id, role) VALUES ('nobody', 1, 'source')",
    ],
)
def test_constraints_refuse_invalid_rows(change: str, catalog: Catalog) -> None:
    catalog.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="h"))
    catalog.metadata.save_operation(UploadRecord())
    with pytest.raises(CatalogError), catalog.database.transaction() as session:
        session.execute(text(change))


def test_a_path_is_unique_on_its_host(catalog: Catalog) -> None:
    for host in ("one", "two"):
        for path in ("/a", "/\udcff", "/\udcfe", "/\\xff"):
            catalog.metadata.save_file_record(FileRecord(path=path, location=Location.LOCAL, host=host))
    assert len(catalog.metadata.list_files()) == 8
    with pytest.raises(CatalogError), catalog.database.transaction() as session:
        session.execute(text("UPDATE files SET host = 'one' WHERE path = '/a'"))
    with pytest.raises(CatalogError), catalog.database.transaction() as session:
        session.execute(text("UPDATE files SET host = 'one' WHERE path_bytes IS NOT NULL"))


def test_json_fields_are_changed_in_place(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    upload = UploadRecord(details={"parts": [1]}, command_args={"level": "fast"})
    catalog.metadata.save_operation(upload)
    upload.details["note"] = "later \udcff"
    catalog.metadata.save_operation(upload)
    found = reopen().metadata.require_operation(upload.operation_id)
    assert found.as_dict()["metadata"] == {"parts": [1], "note": "later \udcff"}
    assert found.command_args == {"level": "fast"}


def test_operations_are_ordered_by_number_not_by_time(catalog: Catalog) -> None:
    early = datetime(2020, 1, 1, tzinfo=UTC)
    first = UploadRecord(target_path="/1")
    second = UploadRecord(target_path="/2", started_at=early)
    with catalog.database.transaction():
        catalog.metadata.save_operation(first)
        catalog.metadata.save_operation(second)
    assert (first.seq, second.seq) == (1, 2)
    assert [o.target_path for o in catalog.metadata.list_operations()] == ["/2", "/1"]


def test_terminal_statuses() -> None:
    assert [status.value for status in Status if not status.is_terminal] == ["pending", "running"]
    assert {status.value for status in FileStatus} == {"pending", "uploading", "completed", "failed", "deleted"}
