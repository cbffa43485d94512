"""The catalog with arbitrary names and numbers."""

import itertools
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, UploadRecord, open_catalog
from mgmt.catalog.files import name_index as name_index
from mgmt.catalog.records.types import display, exact, exact_bytes
from tests.catalogs import Catalogs

names = st.binary(min_size=1, max_size=255).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"0")).map(
    os.fsdecode
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=60)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
numbers = itertools.count()

few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, catalogs: Catalogs) -> Iterator[Catalog]:
    opened = open_catalog(catalogs.at(tmp_path_factory.mktemp("catalog")).url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name_index, "BLOCK", 2)  # so that a few names fill several blocks
        yield opened
    opened.close()


def archive(catalog: Catalog) -> FileRecord:
    """A new archive, so that examples are independent."""
    key = f"{next(numbers)}.tar.gz"
    record = FileRecord(
        path=key, s3_object_key=key, location=Location.S3, store="file:///s", status=FileStatus.COMPLETED
    )
    return catalog.metadata.save_file_record(record)


def member(path: str, size: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        path=path, type="f", mode=0o644, mtime_ns=0, size=size, header_offset=0, data_offset=512, sha256=None, link=path
    )


@given(names)
def test_a_displayed_name_can_be_converted_back(name: str) -> None:
    shown = display(name)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert exact(shown, exact_bytes(name)) == name


@few
@given(paths)
def test_records_keep_any_name(catalog: Catalog, path: str) -> None:
    place = Place(Location.LOCAL, "h", f"/{path}")
    saved = catalog.metadata.save_file_record(FileRecord(path=place.path, location=place.location, host=place.where))
    upload = UploadRecord(target_path=place.path, completed_dir_path=place.path)
    catalog.metadata.save_operation(upload)
    catalog.close()  # expires the records, so that they are read again
    found, done = catalog.metadata.require_file_record(place), catalog.metadata.require_operation(upload.operation_id)
    assert (found.id, found.path, found.name) == (saved.id, place.path, os.path.basename(path))
    assert isinstance(done, UploadRecord)
    assert {done.target_path, done.completed_dir_path} == {place.path}


@few
@given(st.lists(paths, unique=True, max_size=20))
def test_members_keep_any_name_in_order(catalog: Catalog, wanted: list[str]) -> None:
    kept = archive(catalog)
    assert catalog.members.record(kept.id, map(member, wanted)) == len(wanted)
    listed = catalog.members.list(kept.id)
    assert [(m.path, m.link) for m in listed] == [(path, path) for path in wanted]
    for each in listed:
        assert catalog.members.find(kept.id, each.path) == each


@pytest.mark.sqlite  # PostgreSQL 15 does not fold one letter to several: "ß" to "ss"
@few
@given(st.lists(paths, min_size=1, max_size=10, unique=True), st.data())
def test_a_search_finds_exactly_the_names_that_contain_the_keyword(
    catalog: Catalog, wanted: list[str], data: st.DataObject
) -> None:
    kept = archive(catalog)
    shown = display(data.draw(st.sampled_from(wanted)).rpartition("/")[2])
    start = data.draw(st.integers(0, len(shown) - 1))
    keyword = shown[start : data.draw(st.integers(start + 1, len(shown)))]
    keyword = data.draw(st.sampled_from([keyword, keyword.upper(), keyword.casefold()]))
    expected = [path for path in wanted if keyword.casefold() in display(path.rpartition("/")[2]).casefold()]
    if data.draw(st.booleans()):
        catalog.members.record(kept.id, map(member, wanted))
        catalog.members.index_names()
    else:
        catalog.members.index_names()
        catalog.members.record(kept.id, map(member, wanted))
    found = [m.path for m, a in catalog.members.search(keyword, limit=None) if a.id == kept.id]
    assert found == expected[::-1]
    catalog.members.record(kept.id, [])
    catalog.metadata.save_file_record(FileRecord(path=f"/{wanted[0]}", location=Location.LOCAL, host=str(kept.id)))
    held = [f.path for f in catalog.metadata.search_files(keyword, limit=None) if f.host == str(kept.id)]
    assert held == ([f"/{wanted[0]}"] if keyword.casefold() in display(f"/{wanted[0]}").casefold() else [])


@few
@given(
    st.lists(st.tuples(paths, st.none() | st.integers(0, 3)), max_size=25, unique_by=lambda pair: pair[0]), st.data()
)
def test_pages_list_each_file_exactly_once(
    catalog: Catalog, files: list[tuple[str, int | None]], data: st.DataObject
) -> None:
    with catalog.database.transaction() as session:
        for old in catalog.metadata.list_files(location=Location.COMPLETED, limit=None):
            session.delete(old)
    for path, size in files:
        catalog.metadata.save_file_record(FileRecord(path=path, size=size, location=Location.COMPLETED, host="h"))
    limit, sort = (
        data.draw(st.integers(1, 7)),
        data.draw(st.sampled_from(["path", "-name", "size", "-size", "recorded"])),
    )
    seen: list[FileRecord] = []
    while page := catalog.metadata.list_files(
        location=Location.COMPLETED, sort=sort, limit=limit, after=seen[-1].id if seen else None
    ):
        assert len(page) <= limit
        seen += page
    assert sorted(file.path for file in seen) == sorted(path for path, _ in files)
    prefix = data.draw(st.sampled_from([path for path, _ in files] or ["x"]))
    prefix = display(prefix)[: data.draw(st.integers(0, 5))]
    listed = {file.path for file in catalog.metadata.list_files(prefix, Location.COMPLETED, limit=None)}
    assert listed == {path for path, _ in files if display(path).startswith(prefix)}
