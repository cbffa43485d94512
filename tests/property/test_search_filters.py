"""Filters of a search are applied before its limit: at every limit, the result equals a filter in Python."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from mgmt.catalog import Catalog, FileFilter, FileRecord, FileStatus, Location, Scope, SearchRecord, open_catalog
from mgmt.catalog.files import name_index
from mgmt.progress import NoProgress
from mgmt.services.search import Query, search
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import host
from mgmt.services.steps.match import Match
from tests.catalogs import Catalogs

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
START = datetime(2024, 2, 29, 12, tzinfo=UTC)

moments = st.integers(-2, 2).map(lambda ticks: START + ticks * TICK)
tags = st.dictionaries(st.sampled_from(["who", "wo 'x'", "é"]), st.sampled_from(["ann", "bob", 'ü"', "1"]), max_size=2)
keywords = st.sampled_from(["shot", "SHOT", "sh", "é.j", "sub/sh", "ub/"])
names = st.sampled_from(["shot.jpg", "Shot.jpg", "sub/shot-2.jpg", "sub/é.jpg", "sub/sub/shot", "other"])


@dataclass(frozen=True)
class Stored:
    """A file to record; an archive has members, as pairs of a name and a time in nanoseconds."""

    location: Location
    status: FileStatus
    tags: Mapping[str, str]
    modified_at: datetime | None
    name: str
    members: list[tuple[str, int]]


stored = st.builds(
    Stored,
    location=st.sampled_from(Location),
    status=st.sampled_from([FileStatus.COMPLETED, FileStatus.COMPLETED, FileStatus.FAILED, FileStatus.DELETED]),
    tags=tags,
    modified_at=st.none() | moments,
    name=names,
    members=st.lists(
        st.tuples(names, st.integers(-2001, 2001).map(lambda ns: (START - EPOCH) // TICK * 1000 + ns)), max_size=8
    ),
)
queries = st.builds(
    Query,
    keyword=keywords,
    location=st.sampled_from(Scope),
    status=st.none() | st.sampled_from([FileStatus.COMPLETED, FileStatus.DELETED]),
    tags=tags,
    since=st.none() | moments,
    until=st.none() | moments,
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, catalogs: Catalogs) -> Iterator[Catalog]:
    opened = open_catalog(catalogs.at(tmp_path_factory.mktemp("catalog")).url)
    with pytest.MonkeyPatch.context() as patch:
        # So that a few names fill several blocks, and several pages of blocks.
        patch.setattr(name_index, "BLOCK", 2)
        patch.setattr(name_index, "FEWEST_BLOCKS", 1)
        patch.setattr(name_index, "MOST_BLOCKS", 2)
        yield opened
    opened.close()


@pytest.fixture(scope="module")
def local_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of unrecorded files."""
    folder = tmp_path_factory.mktemp("local")
    for ticks in range(-2, 3):
        path = folder / f"shot{ticks}.jpg"
        path.touch()
        moment = (START + ticks * TICK - EPOCH) // TICK * 1000
        os.utime(path, ns=(moment, moment))
    return str(folder)


def record(catalog: Catalog, files: list[Stored]) -> None:
    """Replace all records of the catalog by `files`."""
    for old in catalog.metadata.list_files(limit=None):
        catalog.members.record(old.id, [])
    with catalog.database.transaction() as session:
        session.execute(delete(FileRecord))
    for number, each in enumerate(files):
        is_archive = each.location is Location.S3
        file = catalog.metadata.save_file_record(
            FileRecord(
                path=f"{number}/{each.name}",
                location=each.location,
                host=None if is_archive else host(),
                store="file:///store" if is_archive else None,
                s3_object_key=f"{number}/{each.name}" if is_archive else None,
                status=each.status,
                tags=dict(each.tags),
                modified_at=each.modified_at,
            )
        )
        if is_archive:
            catalog.members.record(file.id, [member(*facts) for facts in each.members])
        if number % 2:
            catalog.members.index_names()


def member(path: str, mtime_ns: int) -> SimpleNamespace:
    facts = {"type": "f", "mode": 0o644, "size": 1, "header_offset": 0, "data_offset": 512, "sha256": None}
    return SimpleNamespace(path=path, mtime_ns=mtime_ns, link=None, **facts)


def matches(query: Query, status: str | None, has: Mapping[str, str], modified: datetime) -> bool:
    return (
        (query.status is None or status == query.status)
        and all(has.get(key) == value for key, value in query.tags.items())
        and (query.since is None or modified >= query.since)
        and (query.until is None or modified < query.until)
    )


def everything(query: Query, local_dir: str, catalog: Catalog) -> Iterator[tuple[str, str]]:
    """The type and the path of all matches, filtered in Python."""

    def records(location: Location) -> Iterator[FileRecord]:
        for each in catalog.metadata.search_files(query.keyword, location, limit=None):
            if matches(query, each.status, each.tags, each.modified_at or each.recorded_at):
                yield each

    if query.location is not Scope.S3:
        for location in (Location.COMPLETED, Location.LOCAL):
            for each in records(location):
                if query.status is not None or each.status is not FileStatus.DELETED:
                    yield "file", each.path
        for name in sorted(os.listdir(local_dir)):
            path = Path(local_dir, name)
            modified = EPOCH + path.stat().st_mtime_ns // 1000 * TICK
            if query.keyword.casefold() in name.casefold() and matches(query, None, {}, modified):
                yield "file", str(path)
    if query.location is not Scope.LOCAL:
        for each in records(Location.S3):
            yield "archive", each.path
        for member, archive in catalog.members.search(query.keyword, limit=None):
            if matches(query, archive.status, archive.tags, EPOCH + member.mtime_ns // 1000 * TICK):
                yield "member", member.path


def searched(query: Query, local_dir: str, catalog: Catalog) -> tuple[SearchRecord, list[Match]]:
    context = Context(lambda _: pytest.fail("no store is needed"), catalog, NoProgress())
    with search(query, context, local_dir=local_dir, live=False) as found:
        return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(stored, max_size=6), queries)
def test_a_search_filters_before_the_limit(catalog: Catalog, local_dir: str, files: list[Stored], query: Query) -> None:
    record(catalog, files)
    expected = list(everything(query, local_dir, catalog))
    only = FileFilter(status=query.status, tags=query.tags, since=query.since, until=query.until)
    inside = [path for type_, path in expected if type_ == "member"]
    for limit in range(1, len(expected) + 2):
        limited = Query(**{name: getattr(query, name) for name in Query.__slots__} | {"limit": limit})
        done, found = searched(limited, local_dir, catalog)
        assert [(each.type, each.path) for each in found] == expected[:limit]
        assert done.total_matches == len(found) == done.local_count + done.s3_count
        assert done.local_matches == [each.path for each in found if each.type == "file"]
        assert done.s3_matches == list(dict.fromkeys(each.archive for each in found if each.archive))
        if query.location is not Scope.LOCAL:
            some = catalog.members.search(query.keyword, limit=limit, only=only)
            assert [member.path for member, _ in some] == inside[:limit]
