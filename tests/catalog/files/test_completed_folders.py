"""Folders of completed copies: what of the catalog concerns each, and which of them something was changed for."""

import tracemalloc
from collections.abc import Callable

import pytest
from sqlalchemy import insert

from mgmt.catalog import (
    Catalog,
    DownloadRecord,
    FileRecord,
    FileStatus,
    Location,
    OperationRecord,
    Role,
    SearchRecord,
    Status,
    UploadRecord,
    VerifyRecord,
)
from mgmt.catalog.files.completed_folders import CHUNK, Folders
from mgmt.catalog.records.metadata import METADATA

HOST = "nas"


@pytest.fixture
def folders(catalog: Catalog) -> Folders:
    return Folders(catalog.database, HOST)


def saved(catalog: Catalog, operation: OperationRecord, **files: FileRecord) -> None:
    """Record an operation that touched these files, by the role each had."""
    with catalog.journal.record(operation):
        for role, file in files.items():
            catalog.journal.link(operation, catalog.metadata.save_file_record(file), Role(role))


def archived(catalog: Catalog, folder: str, name: str, make_archive: Callable[..., FileRecord]) -> FileRecord:
    """An upload that moved its original from beside `folder` into it; gives the archive."""
    where = {"host": HOST, "status": FileStatus.COMPLETED}
    source = FileRecord(path=f"{folder}/../{name}", location=Location.LOCAL, **where)  # type: ignore[arg-type]
    copy = FileRecord(path=f"{folder}/{name}", location=Location.COMPLETED, **where)  # type: ignore[arg-type]
    archive = make_archive(f"{folder.strip('/')}/{name}")
    saved(catalog, UploadRecord(target_path=source.path), source=source, archive=archive, completed=copy)
    return archive


def test_the_records_of_a_folder(catalog: Catalog, folders: Folders, make_archive: Callable[..., FileRecord]) -> None:
    first = archived(catalog, "/a/completed", "one", make_archive)
    archived(catalog, "/a/completed", "two", make_archive)
    nested = archived(catalog, "/a/completed/b/completed", "three", make_archive)
    assert folders.changed() == ["/a/completed", "/a/completed/b/completed"]
    assert folders.changed() == []
    saved(catalog, VerifyRecord(), archive=nested)
    saved(catalog, DownloadRecord(), archive=first, result=FileRecord(path="/x", location=Location.LOCAL, host=HOST))
    saved(catalog, SearchRecord(keyword="one"))
    assert folders.changed() == ["/a/completed", "/a/completed/b/completed"]
    assert [each["operation_type"] for each in folders.operations("/a/completed")] == ["upload", "upload", "download"]
    assert [each["operation_type"] for each in folders.operations("/a/completed/b/completed")] == ["upload", "verify"]
    assert [each["target_path"] for each in folders.uploads("/a/completed")] == [
        "/a/completed/../one",
        "/a/completed/../two",
    ]
    assert len(list(folders.downloads("/a/completed"))) == 1
    assert len(list(folders.files("/a/completed"))) == 6
    assert "compression_type" in next(folders.uploads("/a/completed"))
    assert not {"compression_type", "claim", "owner"} & next(folders.operations("/a/completed")).keys()
    assert list(folders.files("/a")) == []


def test_reading_a_folder_changes_nothing(catalog: Catalog, folders: Folders) -> None:
    saved(catalog, SearchRecord(keyword="one"))
    catalog.metadata.list_files()
    assert folders.changed() == []


def test_a_changed_archive_marks_its_folder_as_changed(
    catalog: Catalog, make_archive: Callable[..., FileRecord], reopen: Callable[[], Catalog]
) -> None:
    archive = archived(catalog, "/caf\udce9", "one", make_archive)
    other = reopen()
    folders = Folders(other.database, HOST)
    saved(other, VerifyRecord(), archive=other.metadata.require_file_record(archive.id))
    assert folders.changed() == ["/caf\udce9"]
    assert [each["path"] for each in folders.files("/caf\udce9")][2] == "/caf\udce9/one"


def test_folders_of_other_hosts_are_ignored(catalog: Catalog, make_archive: Callable[..., FileRecord]) -> None:
    other = Folders(catalog.database, "another")
    archived(catalog, "/completed", "one", make_archive)
    assert (other.changed(), list(other.files("/completed"))) == ([], [])


def test_memory_does_not_grow_with_the_records(
    catalog: Catalog, folders: Folders, make_archive: Callable[..., FileRecord]
) -> None:
    archive = archived(catalog, "/completed", "one", make_archive)

    def read() -> tuple[int, int]:
        tracemalloc.start()
        count = sum(1 for _ in folders.operations("/completed"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return count, peak

    ids = [f"{n:08}" for n in range(20 * CHUNK)]
    with catalog.transaction(), catalog.database.reading() as session:
        free: dict[str, object] = {
            "operation_type": "free",
            "metadata": {},
            "command_args": {},
            "status": Status.SUCCESS,
        }
        free["started_at"] = free["completed_at"] = archive.recorded_at
        rows = [{**free, "operation_id": each, "seq": n + 2} for n, each in enumerate(ids)]
        session.execute(insert(METADATA.tables["operations"]), rows)
        links = [{"operation_id": each, "file_id": archive.id, "role": Role.ARCHIVE} for each in ids]
        session.execute(insert(METADATA.tables["operation_files"]), links)
        del rows, links
    count, peak = read()
    assert count == 20 * CHUNK + 1
    assert peak < 8 << 20, peak
