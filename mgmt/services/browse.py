"""What a person looks at in the catalog, page by page. Nothing is written, and no store is asked.

An archive is known by its number in the catalog: its key may be used again.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, MemberRecord, OperationRecord, ReadOnly, Status
from mgmt.errors import ConfigurationError, NotFoundError
from mgmt.services.steps.next_step import next_step
from mgmt.services.steps.safety import safety_of
from mgmt.services.steps.thaw import states

SHORTEST = 3
"""Characters of a word that is searched for in the names of members while it is typed: shorter ones have no index."""

MOST = 100
"""Records of one kind beside another one: the copies of an archive, its operations, the files of an operation."""


@contextmanager
def look(catalog: ReadOnly) -> Iterator[Catalog]:
    """The catalog as it is now. Raises CatalogError if it cannot be read, BusyError if too many others read it."""
    with catalog.look() as database:
        yield Catalog(database)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search has found; `is_whole` says that archives were searched by any part of their names."""

    archives: list[FileRecord]
    members: list[tuple[MemberRecord, FileRecord]]
    is_whole: bool


def complete(word: str, catalog: Catalog, *, limit: int) -> Found:
    """What `word`, as far as it is typed, can mean: archives by the beginning of their keys, members by their names.

    It takes milliseconds with ten million members. `find` finds all.
    """
    known: dict[int, FileRecord] = {}
    for prefix in dict.fromkeys((word, word.lower(), word.capitalize(), word.upper())):
        if prefix and len(known) < limit:
            found = catalog.files.list_files(prefix, Location.S3, deleted=False, limit=limit)
            known |= {each.id: each for each in found}
    name = word.rpartition("/")[2]
    members = catalog.members.search(name, limit) if len(name) >= SHORTEST else []
    return Found(archives=list(known.values())[:limit], members=members, is_whole=False)


def find(keyword: str, catalog: Catalog, *, limit: int) -> Found:
    """Archives whose key contains `keyword`, deleted ones too, and members whose name or, with a slash, path does."""
    archives = catalog.files.search_files(keyword, Location.S3, limit=limit)
    return Found(archives=archives, members=catalog.members.search(keyword, limit), is_whole=True)


def archives(catalog: Catalog, *, limit: int, after: int | None = None) -> list[FileRecord]:
    """The stored archives, those recorded last first. `after` is the number of the last one of the page before.

    Raises NotFoundError if there is no such archive.
    """
    return catalog.files.list_files(None, Location.S3, FileStatus.COMPLETED, sort="-recorded", limit=limit, after=after)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveView:
    """An archive with what is known about it; of each list up to `MOST`."""

    archive: FileRecord
    sentence: str
    """Whether its content is safe, and what to do if it is not."""
    cold: str | None
    """Of a frozen archive: frozen, thawing, ready or expired, as far as the catalog knows."""
    copies: list[FileRecord]
    """Originals and completed copies of its content."""
    twins: list[FileRecord]
    """Other archives of its content."""
    history: list[OperationRecord]
    """The operations that touched it, the newest first."""


def archive(number: int, catalog: Catalog) -> ArchiveView:
    """The archive with this number, stored or deleted. Raises NotFoundError."""
    found = _archive(number, catalog)
    same = catalog.metadata.archives_of(found.digest) if found.digest else []
    return ArchiveView(
        archive=found,
        sentence=safety_of(found, catalog).sentence,
        cold=next(iter(states([found], catalog).values()), None),
        copies=catalog.metadata.copies_of(found.digest)[:MOST] if found.digest else [],
        twins=[each for each in same if each.id != found.id][:MOST],
        history=catalog.metadata.operations_of(found)[:MOST],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A page of what is directly in a folder of an archive, as the catalog has it."""

    path: str
    """ "" for the top."""
    entries: Sequence[MemberRecord]
    after: int | None
    """The number of the last entry if there are more."""


def folder(number: int, path: str, catalog: Catalog, *, limit: int, after: int | None = None) -> Folder:
    """What is in the folder at `path` of an archive. Raises NotFoundError for an archive that is not recorded."""
    _archive(number, catalog)
    found = catalog.members.inside(number, path, limit + 1, after)
    return Folder(path=path, entries=found[:limit], after=found[limit - 1].id if len(found) > limit else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which operations to list. A field that is None does not filter."""

    operation_type: str | None = None
    status: Status | None = None
    month: str | None = None
    """As "2026-11", in UTC."""


def wanted(operation_type: str, status: str, month: str) -> Filter:
    """The filter that these words ask for; an empty one does not filter. Raises ConfigurationError for any other."""
    if month:
        _month(month)
    try:
        chosen = Status(status) if status else None
    except ValueError:
        raise ConfigurationError(f"{status!r} is no status of an operation") from None
    return Filter(operation_type=operation_type or None, status=chosen, month=month or None)


def operations(only: Filter, catalog: Catalog, *, limit: int, after: str | None = None) -> list[OperationRecord]:
    """The operations that match, the newest first. `after` is the id of the last one of the page before.

    Raises ConfigurationError for a month that is none, NotFoundError if there is no operation `after`.
    """
    since, until = _month(only.month) if only.month else (None, None)
    return catalog.metadata.list_operations(only.operation_type, only.status, since, until, limit, after=after)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationView:
    """An operation with what is known about it; of its files up to `MOST`."""

    operation: OperationRecord
    next_step: str | None
    """The command to type if it has not succeeded."""
    files: list[FileRecord]
    children: list[OperationRecord]
    repeats: list[OperationRecord]
    """The operations that did its work again, the newest first."""


def operation(operation_id: str, catalog: Catalog, *, limit: int) -> OperationView:
    """The operation with this id, with at most `limit` children. Raises NotFoundError."""
    found = catalog.metadata.require_operation(operation_id)
    repeats = catalog.metadata.repeats_of(operation_id)
    return OperationView(
        operation=found,
        next_step=next_step(found, repeats),
        files=list({file.id: file for file, _ in catalog.metadata.files_of(found)}.values())[:MOST],
        children=catalog.metadata.list_operations(parent=operation_id, limit=limit),
        repeats=repeats,
    )


def _archive(number: int, catalog: Catalog) -> FileRecord:
    found = catalog.metadata.get_file_record(number)
    if found is None or found.location is not Location.S3:
        raise NotFoundError(f"there is no archive {number}", next_step="mgmt ls")
    return found


def _month(month: str) -> tuple[datetime, datetime]:
    try:
        digits = month if re.fullmatch("[0-9]{4}-[0-9]{2}", month) else ""  # strptime takes more
        since = datetime.strptime(digits, "%Y-%m").replace(tzinfo=UTC)
        until = since.replace(year=since.year + since.month // 12, month=since.month % 12 + 1)
    except ValueError:
        raise ConfigurationError(f"{month!r} is no month", next_step="write it as 2026-11") from None
    return since, until
