"""Find files, archives, and members inside archives."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Scope, SearchRecord
from mgmt.errors import MgmtError
from mgmt.progress import Progress
from mgmt.services.steps.index_keys import SUFFIX
from mgmt.services.steps.local_files import host
from mgmt.storage import ObjectStore, StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Something that was found: a local file, a completed copy, an archive, or a member inside an archive."""

    type: str
    name: str
    location: str
    path: str
    host: str | None = None
    """The machine; None for what is in a store."""
    archive: str | None = None
    size: int | None = None
    modified_at: datetime | None = None
    status: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for. `since` and `until` bound the time of modification, in UTC."""

    keyword: str
    location: Scope = Scope.GLOBAL
    host: str | None = None
    """Whose local files; None for those of all machines."""
    status: FileStatus | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


@contextmanager
def search(
    query: Query,
    *,
    local_dir: str | None,
    live: ObjectStore | None,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
) -> Iterator[tuple[SearchRecord, list[Match]]]:
    """Look, and keep the record open while the caller lets the user pick: what was picked belongs to it.

    With `live` the store itself is asked for archives, not the catalog. Finding nothing is a success. On a catalog that
    cannot be written the search works all the same, unrecorded, with a note.
    """
    record = SearchRecord(
        target_path=query.keyword,
        target_name=query.keyword,
        keyword=query.keyword,
        location=query.location,
        command_args=dict(command_args),
    )
    with catalog.journal.record(record, unrecorded=lambda error: note_unrecorded(error, progress)) as record:
        found = list(islice(_matches(query, local_dir, live, catalog), query.limit))
        record.local_matches = sum(each.location != Location.S3 for each in found)
        record.s3_matches = len(found) - record.local_matches
        record.total_matches = len(found)
        yield record, found


def note_unrecorded(error: MgmtError, progress: Progress) -> None:
    """Tell the user that a look could not be recorded, which does not stand in the way of looking."""
    progress.note(f"note: this is not recorded, as {error.message}")


def _matches(query: Query, local_dir: str | None, live: ObjectStore | None, catalog: Catalog) -> Iterator[Match]:
    if query.location in (Scope.LOCAL, Scope.GLOBAL):
        seen = set()
        for location in (Location.COMPLETED, Location.LOCAL):
            for record in _records(query, location, catalog):
                if query.status is None and record.status == FileStatus.DELETED:
                    continue  # it has moved to completed/, or its space was wanted
                if record.host == host():
                    seen.add(record.path)
                yield as_match(record)
        here = query.host in (host(), None)
        if local_dir is not None and here and query.status is None and not query.tags:
            yield from (each for each in _on_disk(query, local_dir) if each.path not in seen)
    if query.location in (Scope.S3, Scope.GLOBAL):
        if live is not None:
            yield from _in_store(query, live)
        else:
            yield from map(as_match, _records(query, Location.S3, catalog))
        yield from _members(query, catalog)


def _records(query: Query, location: Location, catalog: Catalog) -> Iterator[FileRecord]:
    yield from catalog.metadata.search_files(
        query.keyword,
        location,
        query.status,
        host=query.host,
        tags=query.tags,
        since=query.since,
        until=query.until,
        limit=query.limit,
    )


def _members(query: Query, catalog: Catalog) -> Iterator[Match]:
    for member, archive in catalog.members.search(query.keyword, limit=query.limit):
        modified = datetime.fromtimestamp(member.mtime_ns / 1e9, UTC)
        if _fits(query, modified, archive.status, archive.tags):
            yield Match(
                type="member",
                name=os.path.basename(member.path),
                location=Location.S3,
                path=member.path,
                archive=archive.s3_object_key,
                size=member.size,
                modified_at=modified,
                status=archive.status,
                tags=archive.tags,
            )


def _fits(query: Query, modified: datetime | None, status: str | None, tags: Mapping[str, str]) -> bool:
    return (
        (query.status is None or status == query.status)
        and all(tags.get(name) == value for name, value in query.tags.items())
        and (query.since is None or (modified is not None and modified >= query.since))
        and (query.until is None or (modified is not None and modified < query.until))
    )


def as_match(record: FileRecord) -> Match:
    """A record of the catalog as a result."""
    archive = record.location == Location.S3
    return Match(
        type="archive" if archive else "folder" if record.is_directory else "file",
        name=record.name,
        location=record.location,
        host=record.host,
        path=record.path,
        archive=record.s3_object_key,
        size=record.size,
        modified_at=record.modified_at,
        status=record.status,
        tags=record.tags,
    )


def _on_disk(query: Query, local_dir: str) -> Iterator[Match]:
    wanted = query.keyword.casefold()
    for folder, folders, names in os.walk(local_dir):
        folders.sort()
        for name in sorted(folders + names):
            if wanted not in name.casefold():
                continue
            path = os.path.join(folder, name)
            found = os.lstat(path)
            modified = datetime.fromtimestamp(found.st_mtime, UTC)
            if _fits(query, modified, None, {}):
                kind = "folder" if name in folders else "file"
                yield Match(
                    type=kind,
                    name=name,
                    location=Location.LOCAL,
                    host=host(),
                    path=path,
                    size=found.st_size if kind == "file" else None,
                    modified_at=modified,
                )


def _in_store(query: Query, store: ObjectStore) -> Iterator[Match]:
    wanted = query.keyword.casefold()
    for stored in store.list():
        named = wanted in stored.key.casefold() and not stored.key.endswith(SUFFIX)
        if named and _fits(query, stored.last_modified, None, {}):
            yield from_store(stored)


def from_store(stored: StoredObject) -> Match:
    """An object of a store as a result."""
    return Match(
        type="archive",
        name=os.path.basename(stored.key),
        location=Location.S3,
        path=stored.key,
        archive=stored.key,
        size=stored.size,
        modified_at=stored.last_modified,
    )
