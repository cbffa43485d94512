"""Find files, archives, and members inside archives."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from mgmt.catalog import Catalog, FileFilter, FileRecord, FileStatus, Location, Scope, SearchRecord
from mgmt.errors import ConfigurationError
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import SUFFIX
from mgmt.services.steps.local_files import host, moment
from mgmt.services.steps.match import Match, as_match, from_store
from mgmt.storage import ObjectStore

KEPT = 100
"""Paths, and keys, of matches that the record of a search keeps."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to search for. `since` and `until` bound the time of modification: `until` itself is excluded."""

    keyword: str
    location: Scope = Scope.GLOBAL
    host: str | None = None
    """The host of local files; None for all hosts."""
    status: FileStatus | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


@contextmanager
def search(
    query: Query, context: Context, *, local_dir: str | None, live: bool
) -> Iterator[tuple[SearchRecord, list[Match]]]:
    """Search, and keep the record open while the caller lets the user pick a result: the choice is part of it.

    With `live` archives are listed by the store itself, not by the catalog. Finding nothing is a success. If the
    catalog is read-only, the search works unrecorded, with a note. Raises ConfigurationError for `live` with a status
    or tags.
    """
    if live and (query.status is not None or query.tags):
        raise ConfigurationError(
            "--live cannot filter by status or tag: a store does not list them", next_step="leave out --live"
        )
    record = SearchRecord(
        target_path=query.keyword,
        target_name=query.keyword,
        keyword=query.keyword,
        location=query.location,
        command_args=dict(context.command_args),
    )
    store = context.open_store(None) if live else None
    with context.catalog.journal.record(record, unrecorded=context.note_unrecorded) as record:
        found = list(islice(_matches(query, local_dir, store, context.catalog), query.limit))
        _note(record, found)
        yield record, found


def _note(record: SearchRecord, found: list[Match]) -> None:
    local = [each.path for each in found if each.location != Location.S3]
    keys = [each.archive or each.path for each in found if each.location == Location.S3]
    record.local_matches, record.s3_matches = (list(dict.fromkeys(names))[:KEPT] for names in (local, keys))
    record.local_count, record.s3_count, record.total_matches = len(local), len(keys), len(found)


def _matches(query: Query, local_dir: str | None, live: ObjectStore | None, catalog: Catalog) -> Iterator[Match]:
    if query.location in (Scope.LOCAL, Scope.GLOBAL):
        recorded = set()
        for location in (Location.COMPLETED, Location.LOCAL):
            # A deleted original has moved to completed/, or was removed to free its space.
            for record in _records(query, location, catalog, deleted=False):
                if record.host == host():
                    recorded.add(record.path)
                yield as_match(record)
        here = query.host in (host(), None)
        if local_dir is not None and here and query.status is None and not query.tags:
            yield from (each for each in _on_disk(query, local_dir) if each.path not in recorded)
    if query.location in (Scope.S3, Scope.GLOBAL):
        if live is not None:
            yield from _in_store(query, live)
        else:
            yield from map(as_match, _records(query, Location.S3, catalog, deleted=True))
        yield from _members(query, catalog)


def _records(query: Query, location: Location, catalog: Catalog, *, deleted: bool) -> list[FileRecord]:
    return catalog.files.search_files(
        query.keyword,
        location,
        query.status,
        deleted=deleted,
        host=query.host,
        tags=query.tags,
        since=query.since,
        until=query.until,
        limit=query.limit,
    )


def _members(query: Query, catalog: Catalog) -> Iterator[Match]:
    only = FileFilter(status=query.status, tags=query.tags, since=query.since, until=query.until)
    for member, archive in catalog.members.search(query.keyword, limit=query.limit, only=only):
        yield Match(
            type="member",
            name=os.path.basename(member.path),
            location=Location.S3,
            path=member.path,
            archive=archive.s3_object_key,
            size=member.size,
            modified_at=_EPOCH + timedelta(microseconds=member.mtime_ns // 1000),
            status=archive.status,
            tags=archive.tags,
        )


def _is_in_period(query: Query, modified: datetime | None) -> bool:
    return (query.since is None or (modified is not None and modified >= query.since)) and (
        query.until is None or (modified is not None and modified < query.until)
    )


def _on_disk(query: Query, local_dir: str) -> Iterator[Match]:
    """Files in `local_dir` whose path contains the keyword, as that of a record would."""
    wanted = query.keyword.casefold()
    for folder, folders, names in os.walk(local_dir):
        folders.sort()
        for name in sorted(folders + names):
            path = os.path.join(folder, name)
            if wanted not in path.casefold():
                continue
            try:
                found = os.lstat(path)
            except OSError:  # it has vanished
                continue
            modified = moment(found.st_mtime)
            if _is_in_period(query, modified):
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
        is_named = wanted in stored.key.casefold() and not stored.key.endswith(SUFFIX)
        if is_named and _is_in_period(query, stored.last_modified):
            yield from_store(stored)
