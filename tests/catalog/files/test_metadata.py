"""Saving, getting, listing, searching and finding records."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from mgmt.catalog import (
    SORTS,
    Catalog,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    FileStatus,
    Location,
    OperationRecord,
    Place,
    Role,
    Status,
    UploadRecord,
)
from mgmt.errors import CatalogError, ConfigurationError, NotFoundError

Reopen = Callable[[], Catalog]
Make = Callable[..., FileRecord]


def local(path: str, **facts: object) -> FileRecord:
    return FileRecord(path=path, location=Location.LOCAL, host="h", **facts)  # type: ignore[arg-type]


def uploaded(catalog: Catalog, make_archive: Make, target: str, key: str, **facts: object) -> FileRecord:
    with catalog.journal.record(UploadRecord(target_path=target, s3_object_key=key)) as upload:
        archive = catalog.metadata.save_file_record(make_archive(key, operation_id=upload.operation_id, **facts))
        catalog.journal.link(upload, archive, Role.ARCHIVE)
    return archive


def paths(files: list[FileRecord]) -> list[str]:
    return [file.path for file in files]


def test_saving_the_same_file_updates_its_record(catalog: Catalog, reopen: Reopen) -> None:
    first = catalog.metadata.save_file_record(local("/a", size=1, tags={"a": "b"}))
    second = reopen().metadata.save_file_record(local("/a", size=2, status=FileStatus.COMPLETED))
    assert second.id == first.id
    found = reopen().metadata.require_file_record(first.id)
    assert (found.size, found.status, found.tags) == (2, FileStatus.COMPLETED, {})
    assert found.recorded_at == first.recorded_at
    other = reopen().metadata.save_file_record(FileRecord(path="/a", location=Location.COMPLETED, host="h"))
    assert other.id != first.id


def test_a_loaded_record_is_saved_as_itself(catalog: Catalog, reopen: Reopen) -> None:
    file = catalog.metadata.save_file_record(local("/a"))
    file.status = FileStatus.FAILED
    assert catalog.metadata.save_file_record(file) is file
    assert reopen().metadata.require_file_record(file.place).status is FileStatus.FAILED


def test_what_is_not_there(catalog: Catalog) -> None:
    metadata = catalog.metadata
    for ask in (
        lambda: metadata.require_operation("nobody"),
        lambda: metadata.require_file_record(7),
        lambda: metadata.require_file_record(Place(Location.LOCAL, "h", "/a")),
        lambda: metadata.list_operations(after="nobody"),
        lambda: metadata.list_files(after=7),
        lambda: metadata.latest_archive("/a"),
    ):
        with pytest.raises(NotFoundError):
            ask()
    assert metadata.find("nothing") == []
    assert metadata.get_upload_history("/a") == []


@pytest.fixture
def history(catalog: Catalog) -> list[OperationRecord]:
    """Six operations, the oldest first."""
    began = datetime(2024, 1, 1, tzinfo=UTC)
    operations: list[OperationRecord] = [
        UploadRecord(target_path="/films/Étude.mkv", user="ann", status=Status.SUCCESS),
        UploadRecord(target_path="/films/100%.mkv", user="bob", status=Status.FAILED),
        DownloadRecord(target_path="/films/a_b.mkv", user="ann", status=Status.SUCCESS),
        DeleteRecord(target_path="/films/axb.mkv", user="bob", status=Status.SUCCESS),
        UploadRecord(target_path="/films/Étude.mkv", user="ann", status=Status.RUNNING),
        UploadRecord(target_path="/else", user="ann", status=Status.SUCCESS),
    ]
    for day, operation in enumerate(operations):
        operation.started_at = began + timedelta(days=day)
        catalog.metadata.save_operation(operation)
    return operations


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"limit": 2}, [5, 4]),
        ({"operation_type": "upload"}, [5, 4, 1, 0]),
        ({"status": Status.SUCCESS}, [5, 3, 2, 0]),
        ({"operation_type": "upload", "status": Status.SUCCESS, "limit": 1}, [5]),
        ({"start_date": datetime(2024, 1, 3, tzinfo=UTC)}, [5, 4, 3, 2]),
        ({"end_date": datetime(2024, 1, 3, tzinfo=UTC)}, [1, 0]),
        ({"user": "bob"}, [3, 1]),
        ({"target": "étuDE"}, [4, 0]),
        ({"target": "%"}, [1]),
        ({"target": "a_b"}, [2]),
        ({"target": "'"}, []),
    ],
)
def test_operations_are_listed_the_newest_first(
    asked: dict[str, object], expected: list[int], catalog: Catalog, history: list[OperationRecord]
) -> None:
    found = catalog.metadata.list_operations(**asked)  # type: ignore[arg-type]
    assert [operation.operation_id for operation in found] == [history[i].operation_id for i in expected]


def test_operations_are_listed_page_by_page(catalog: Catalog, history: list[OperationRecord]) -> None:
    pages, after = [], None
    while page := catalog.metadata.list_operations(limit=4, after=after):
        pages.append(len(page))
        after = page[-1].operation_id
    assert pages == [4, 2]


def test_the_uploads_of_one_original(catalog: Catalog, history: list[OperationRecord], reopen: Reopen) -> None:
    found = reopen().metadata.get_upload_history("/films/Étude.mkv")
    assert [upload.operation_id for upload in found] == [history[4].operation_id, history[0].operation_id]
    assert {type(upload) for upload in found} == {UploadRecord}


FILES = [
    "/films/Étude.mkv",
    "/films/100%.mkv",
    "/films/a_b.mkv",
    "/films/axb.mkv",
    "/films/a!b'.mkv",
    "/music/étude.flac",
]


SEARCHES: list[tuple[str, list[str]]] = [
    ("ÉTUDE", ["/music/étude.flac", "/films/Étude.mkv"]),
    ("étude", ["/music/étude.flac", "/films/Étude.mkv"]),
    ("100%", ["/films/100%.mkv"]),
    ("a_b", ["/films/a_b.mkv"]),
    ("A!B'", ["/films/a!b'.mkv"]),
    ("music/", ["/music/étude.flac"]),
    ("' OR 1=1 --", []),
    ("\udcff", []),
]


def test_a_search_finds_what_contains_the_keyword(catalog: Catalog) -> None:
    for path in FILES:
        catalog.metadata.save_file_record(local(path))
    for keyword, expected in SEARCHES:
        assert paths(catalog.metadata.search_files(keyword)) == expected, keyword


def test_a_search_can_be_narrowed(catalog: Catalog, make_archive: Make) -> None:
    metadata, day = catalog.metadata, datetime(2024, 5, 1, tzinfo=UTC)
    metadata.save_file_record(local("/a1", modified_at=day, tags={"who": "ann"}))
    metadata.save_file_record(local("/a2", modified_at=day + timedelta(days=1), status=FileStatus.FAILED))
    metadata.save_file_record(make_archive("a3", tags={"who": "bob"}))
    assert paths(metadata.search_files("a", Location.LOCAL)) == ["/a2", "/a1"]
    assert paths(metadata.search_files("a", status=FileStatus.FAILED)) == ["/a2"]
    assert paths(metadata.search_files("a", tags={"who": "ann"})) == ["/a1"]
    assert paths(metadata.search_files("a", tags={"who": "ann", "what": "x"})) == []
    assert paths(metadata.search_files("a", since=day, until=day + timedelta(hours=1))) == ["/a1"]
    assert paths(metadata.search_files("a", since=day + timedelta(hours=1))) == ["a3", "/a2"]
    first = metadata.search_files("a", limit=2)
    assert paths(first) + paths(metadata.search_files("a", limit=2, after=first[-1].id)) == ["a3", "/a2", "/a1"]


def test_files_are_listed_page_by_page_whatever_the_order(catalog: Catalog) -> None:
    for number in range(23):
        size = None if number % 5 == 0 else number % 3
        modified = None if number % 4 == 0 else datetime(2024, 1, 1 + number % 2, tzinfo=UTC)
        catalog.metadata.save_file_record(local(f"/{number % 7}/{number}", size=size, modified_at=modified))
    for sort in (f"{sign}{name}" for name in SORTS for sign in ("", "-")):
        listed: list[FileRecord] = []
        while page := catalog.metadata.list_files(sort=sort, limit=5, after=listed[-1].id if listed else None):
            listed += page
        assert len({file.id for file in listed}) == len(listed) == 23, sort
        assert listed == catalog.metadata.list_files(sort=sort, limit=None), sort
        if sort.endswith("path"):
            assert paths(listed) == sorted(paths(listed), reverse=sort.startswith("-"))


def test_an_unknown_sort_order_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="cannot be sorted"):
        catalog.metadata.list_files(sort="path; DROP TABLE files")


def test_files_are_listed_by_prefix_location_and_status(catalog: Catalog, make_archive: Make) -> None:
    metadata = catalog.metadata
    for path in ("/a/1", "/a/2", "/A/3", "/a%/4", "/a\U0010ffff/5", "/a"):
        metadata.save_file_record(local(path))
    metadata.save_file_record(make_archive("a/1.tar.gz", status=FileStatus.DELETED))
    assert paths(metadata.list_files("/a/")) == ["/a/1", "/a/2"]
    assert paths(metadata.list_files("/a%")) == ["/a%/4"]
    assert paths(metadata.list_files("/a\U0010ffff")) == ["/a\U0010ffff/5"]
    assert paths(metadata.list_files("/A")) == ["/A/3"]
    assert paths(metadata.list_files(location=Location.S3)) == ["a/1.tar.gz"]
    assert paths(metadata.list_files(status=FileStatus.DELETED)) == ["a/1.tar.gz"]
    assert paths(metadata.list_files("a/", Location.LOCAL)) == []


def test_a_file_and_its_operations(catalog: Catalog, make_archive: Make, reopen: Reopen) -> None:
    archive = uploaded(catalog, make_archive, "/films", "films.tar.gz")
    with catalog.journal.record(DownloadRecord(target_path="/films")) as download:
        catalog.journal.link(download, archive, Role.SOURCE)
    again = reopen().metadata
    assert [type(o) for o in again.operations_of(archive)] == [DownloadRecord, UploadRecord]
    assert [(f.path, r) for f, r in again.files_of(again.require_operation(download.operation_id))] == [
        ("films.tar.gz", Role.SOURCE)
    ]


@pytest.fixture
def archives(catalog: Catalog, make_archive: Make) -> dict[str, FileRecord]:
    return {
        key: uploaded(catalog, make_archive, target, key, **facts)
        for target, key, facts in (
            ("/home/films", "films.tar.gz", {}),
            ("/home/films", "films-2.tar.gz", {}),
            ("/other/films", "sub/films.tar.gz", {}),
            ("/home/caf\udce9", "caf.tar.gz", {}),
            ("/home/gone", "gone.tar.gz", {"status": FileStatus.DELETED}),
            ("/home/back", "back.tar.gz", {"status": FileStatus.DELETED}),
            ("/home/back", "back-2.tar.gz", {}),
        )
    }


FOUND: list[tuple[str, list[str]]] = [
    ("films.tar.gz", ["films.tar.gz"]),
    ("file:///store/films.tar.gz", ["films.tar.gz"]),
    ("sub/films.tar.gz", ["sub/films.tar.gz"]),
    ("films", ["sub/films.tar.gz", "films.tar.gz"]),
    ("films-2", ["films-2.tar.gz"]),
    ("/home/films", ["films-2.tar.gz", "films.tar.gz"]),
    ("/other/films", ["sub/films.tar.gz"]),
    ("/home/caf\udce9", ["caf.tar.gz"]),
    ("caf\udce9", ["caf.tar.gz"]),
    (r"/home/caf\xe9", []),
    ("gone", ["gone.tar.gz"]),
    ("/home/back", ["back-2.tar.gz"]),
    ("back.tar.gz", ["back.tar.gz"]),
    ("film", []),
    ("%", []),
]


def test_a_name_is_found(catalog: Catalog, archives: dict[str, FileRecord]) -> None:
    for name, keys in FOUND:
        assert paths(catalog.metadata.find(name)) == keys, name


def test_an_archive_is_found_by_its_operation(catalog: Catalog, archives: dict[str, FileRecord]) -> None:
    archive = archives["films.tar.gz"]
    assert catalog.metadata.find(str(archive.operation_id)) == [archive]


def test_the_latest_archive_of_an_original(catalog: Catalog, archives: dict[str, FileRecord]) -> None:
    assert catalog.metadata.latest_archive("/home/films").path == "films-2.tar.gz"
    assert catalog.metadata.latest_archive("/home/caf\udce9").path == "caf.tar.gz"
    with pytest.raises(NotFoundError):
        catalog.metadata.latest_archive("/home/gone")


def test_endpoints_are_remembered(catalog: Catalog, reopen: Reopen) -> None:
    assert catalog.endpoints.recall("http://s3") is None
    catalog.endpoints.remember("http://s3", checksum="crc64nvme", max_parts=10_000)
    catalog.endpoints.remember("http://s3", checksum=None, max_parts=1_000)
    seen = reopen().endpoints.recall("http://s3")
    assert seen is not None
    assert (seen.checksum, seen.max_parts) == (None, 1_000)


def test_an_operation_is_saved_and_saved_again(catalog: Catalog, reopen: Reopen) -> None:
    upload = UploadRecord(target_path="/a")
    catalog.metadata.save_operation(upload)
    upload.stage = "sending"
    catalog.metadata.save_operation(upload)
    assert reopen().metadata.require_operation(upload.operation_id).stage == "sending"
    upload.status = Status.SUCCESS
    catalog.metadata.save_operation(upload)
    assert reopen().metadata.require_operation(upload.operation_id).completed_at is not None
    upload.stage = "again"
    with pytest.raises(CatalogError, match="has finished"):
        catalog.metadata.save_operation(upload)
    assert upload.stage == "sending"


@pytest.mark.parametrize("asked", [{}, {"operation_type": "upload"}, {"status": Status.FAILED}])
def test_the_last_page_of_operations_costs_as_much_as_the_first(
    asked: dict[str, object], sqlite_catalog: Catalog, explained: Callable[[Catalog], list[str]]
) -> None:
    last = UploadRecord(target_path="/a", status=Status.FAILED)
    sqlite_catalog.metadata.save_operation(last)
    plans = explained(sqlite_catalog)
    for after in (None, last.operation_id):
        sqlite_catalog.metadata.list_operations(after=after, **asked)  # type: ignore[arg-type]
    assert plans
    assert not [plan for plan in plans if "TEMP B-TREE" in plan or (plan.startswith("SCAN") and "INDEX" not in plan)]


@pytest.mark.parametrize("asked", [{}, {"location": Location.LOCAL}, {"prefix": "/a"}])
def test_the_last_page_of_files_costs_as_much_as_the_first(
    asked: dict[str, object], sqlite_catalog: Catalog, explained: Callable[[Catalog], list[str]]
) -> None:
    last = sqlite_catalog.metadata.save_file_record(local("/a"))
    plans = explained(sqlite_catalog)
    for after in (None, last.id):
        sqlite_catalog.metadata.list_files(after=after, **asked)  # type: ignore[arg-type]
    assert plans
    assert not [plan for plan in plans if "TEMP B-TREE" in plan or (plan.startswith("SCAN") and "INDEX" not in plan)]


def test_find_uses_an_index_for_every_kind_of_name(
    sqlite_catalog: Catalog, explained: Callable[[Catalog], list[str]]
) -> None:
    plans = explained(sqlite_catalog)
    assert sqlite_catalog.metadata.find("s3://bucket/a/b.tar.gz") == []
    with pytest.raises(NotFoundError):
        sqlite_catalog.metadata.latest_archive("/a")
    assert len(plans) > 7
    assert not [plan for plan in plans if plan.startswith("SCAN") or "(location=?" in plan]


def test_what_a_store_lists_is_compared_by_an_index(
    sqlite_catalog: Catalog, make_archive: Make, explained: Callable[[Catalog], list[str]]
) -> None:
    index = "a.tar.gz.0123456789ab.index.jsonl.gz"
    sqlite_catalog.metadata.save_file_record(make_archive("a.tar.gz", index_key=index))
    other = "a.tar.gz.ba9876543210.index.jsonl.gz"
    keys = {"a.tar.gz": "a.tar.gz", index: "a.tar.gz", other: "a.tar.gz", "b.tar.gz": "b.tar.gz"}
    plans = explained(sqlite_catalog)
    assert sqlite_catalog.metadata.unknown_keys("file:///store", keys) == [other, "b.tar.gz"]
    of_files = [plan for plan in plans if " files " in plan]
    assert of_files == ["SEARCH files USING INDEX ix_files_s3_object_key (s3_object_key=?)"]


def test_files_are_found_by_their_exact_names_and_paths_by_an_index(
    sqlite_catalog: Catalog, make_archive: Make, explained: Callable[[Catalog], list[str]]
) -> None:
    metadata = sqlite_catalog.metadata
    here = metadata.save_file_record(local("/a/b"))
    there = metadata.save_file_record(FileRecord(path="/c/b", location=Location.LOCAL, host="other"))
    archive = metadata.save_file_record(make_archive("x/b"))
    hidden = metadata.save_file_record(local("/a/b\udcff"))
    metadata.save_file_record(local("/a/bb"))
    metadata.save_file_record(local("/a/B"))
    plans = explained(sqlite_catalog)
    assert metadata.files_called("b", {"b", "/here/b"}) == [archive, there, here]
    assert metadata.files_called("b", set(), "other") == [archive, there]
    assert metadata.files_called("/a/b", {"/a/b"}) == [here]
    assert metadata.files_called("b\udcff", set()) == [hidden]
    assert metadata.files_called("x", {"/x", "x"}) == []
    assert not [plan for plan in plans if plan.startswith("SCAN")]


def test_the_urls_of_stored_archives(catalog: Catalog, make_archive: Make) -> None:
    for key, status in (("b", FileStatus.COMPLETED), ("a/x", FileStatus.COMPLETED), ("c", FileStatus.DELETED)):
        catalog.metadata.save_file_record(make_archive(key, status=status))
    catalog.metadata.save_file_record(local("/a", status=FileStatus.COMPLETED))
    assert catalog.metadata.archive_urls() == ["file:///store/a/x", "file:///store/b"]


def test_copies_and_unfinished_uploads(catalog: Catalog, make_archive: Make) -> None:
    metadata = catalog.metadata
    metadata.save_file_record(make_archive("a.tar.gz", digest="d"))
    kept = metadata.save_file_record(local("/a", digest="d", status=FileStatus.COMPLETED))
    metadata.save_file_record(local("/gone", digest="d", status=FileStatus.DELETED))
    metadata.save_file_record(local("/b", digest="other"))
    assert metadata.copies_of("d") == [kept]
    ended = [(Status.FAILED, "i1"), (Status.SUCCESS, "i2"), (Status.CANCELLED, "i3"), (Status.FAILED, None)]
    for status, index_key in ended:
        metadata.save_operation(UploadRecord(status=status, index_key=index_key))
    assert [upload.index_key for upload in metadata.unfinished_uploads()] == ["i1", "i3"]


def test_deleted_files_can_be_excluded(catalog: Catalog) -> None:
    metadata = catalog.metadata
    metadata.save_file_record(local("/a"))
    metadata.save_file_record(local("/b", status=FileStatus.DELETED))
    assert paths(metadata.list_files()) == ["/a", "/b"]
    assert paths(metadata.list_files(deleted=False)) == ["/a"]
    assert paths(metadata.list_files(status=FileStatus.DELETED, deleted=False)) == ["/b"]


@pytest.mark.parametrize("key", ["a", "a b", "a.b", 'a"b', "$x", "é", "0", "[0]", "a\\b", "a'b", "", "%", "caf\udce9"])
def test_any_tag_can_be_searched(key: str, catalog: Catalog) -> None:
    catalog.metadata.save_file_record(local("/a", tags={key: "véalue", "other": "x", "raw": "\udcff"}))
    catalog.metadata.save_file_record(local("/b", tags={"z": "véalue"}))
    assert paths(catalog.metadata.search_files("", tags={key: "véalue"})) == ["/a"]
    assert paths(catalog.metadata.search_files("", tags={key: "x"})) == []
    assert paths(catalog.metadata.search_files("", tags={"raw": "\udcff"})) == ["/a"]


def test_an_archive_under_a_key_used_again_has_a_record_of_its_own(
    catalog: Catalog, make_archive: Callable[..., FileRecord]
) -> None:
    metadata = catalog.metadata
    first = metadata.save_file_record(make_archive("a.tar.gz", archive_id="1", digest="one"))
    assert metadata.save_file_record(make_archive("a.tar.gz", archive_id="1", digest="one", size=2)) is first
    first.status = FileStatus.DELETED
    second = metadata.save_file_record(make_archive("a.tar.gz", archive_id="2", digest="two"))
    assert second is not first
    assert (first.digest, first.status) == ("one", FileStatus.DELETED)
    assert metadata.require_file_record(first.place) is second
    assert metadata.find("a.tar.gz") == metadata.find("a.tar.gz", strictly=True) == [second]
    # Somebody has put another object there behind our back.
    third = metadata.save_file_record(make_archive("a.tar.gz", archive_id="3", digest="three"))
    assert [each.status for each in (first, second, third)] == [*[FileStatus.DELETED] * 2, FileStatus.COMPLETED]
    # And the first is back.
    assert metadata.save_file_record(make_archive("a.tar.gz", archive_id="1", digest="one")) is first
    assert [each.status for each in (first, second, third)] == [FileStatus.COMPLETED, *[FileStatus.DELETED] * 2]


def test_an_archive_that_was_recorded_without_an_id_is_known_by_its_digest(
    catalog: Catalog, make_archive: Callable[..., FileRecord]
) -> None:
    metadata = catalog.metadata
    old = metadata.save_file_record(make_archive("a.tar.gz", digest="one"))
    assert metadata.save_file_record(make_archive("a.tar.gz", archive_id="1", digest="one")) is old
    assert old.archive_id == "1"
    other = metadata.save_file_record(make_archive("a.tar.gz", digest="two"))
    assert other is not old
    assert old.status is FileStatus.DELETED


def test_a_strict_find_never_falls_back_to_another_archive(
    catalog: Catalog, make_archive: Callable[..., FileRecord]
) -> None:
    with catalog.journal.record(UploadRecord(target_path="/films/a")) as upload:
        deleted = saved(catalog, make_archive, "a.tar.gz", FileStatus.DELETED)
        other = saved(catalog, make_archive, "b.tar.gz", FileStatus.COMPLETED, operation_id=upload.operation_id)
    assert catalog.metadata.find("a") == [other]
    assert catalog.metadata.find("a", strictly=True) == [deleted]
    assert catalog.metadata.find("/films/a", strictly=True) == [other]


def saved(
    catalog: Catalog, make_archive: Callable[..., FileRecord], key: str, status: FileStatus, **facts: str
) -> FileRecord:
    return catalog.metadata.save_file_record(make_archive(key, status=status, **facts))
