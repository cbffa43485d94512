"""What narrows a search: the same filter as conditions on files and on the members of archives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, exists, func, or_

from mgmt.catalog.db.conditions import containing, tagged
from mgmt.catalog.records.enums import FileStatus, Location
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.member_tables import members
from mgmt.catalog.records.operations import OperationRecord

WHEN: ColumnElement[Any] = func.coalesce(FileRecord.modified_at, FileRecord.recorded_at)
"""The time of a file: when it was modified, or else recorded."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST = 2**63 - 1


class Narrowing(TypedDict, total=False):
    """What a search may be given by name, besides the location and the status: see `FileFilter`."""

    deleted: bool
    host: str | None
    tags: Mapping[str, str]
    since: datetime | None
    until: datetime | None


class PageNarrowing(Narrowing, total=False):
    """The same for one page of a list: `after` is the id of the last file of the page before."""

    after: int | None


class OperationNarrowing(TypedDict, total=False):
    """What a list of operations may be given by name."""

    after: str | None
    user: str | None
    host: str | None
    target: str | None
    parent: str | None


def narrow_operations(given: OperationNarrowing) -> list[ColumnElement[bool]]:
    """The conditions on operations; what is None excludes nothing."""
    conditions: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "user": lambda user: OperationRecord.user == user,
        "host": lambda host: OperationRecord.host == host,
        "target": lambda part: containing(OperationRecord.target_path, part),
        "parent": lambda parent: OperationRecord.parent_id == parent,
    }
    return [conditions[name](value) for name, value in given.items() if value is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFilter:
    """Which files to find. What is left out excludes nothing."""

    location: Location | None = None
    status: FileStatus | None = None
    deleted: bool = True
    """Include deleted files; a `status` overrides this."""
    host: str | None = None
    """Exclude local files of other hosts; an archive in a store belongs to no host."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Every one of these tags, with exactly this value."""
    since: datetime | None = None
    """Not before this time; see `WHEN`."""
    until: datetime | None = None
    """Before this time."""

    def of_files(self) -> list[ColumnElement[bool]]:
        """The conditions on a file."""
        found = self.of_archives()
        if self.location is not None:
            found.append(FileRecord.location == self.location)
        if self.host is not None:
            found.append(or_(FileRecord.host == self.host, FileRecord.host.is_(None)))
        if self.since is not None:
            found.append(self.since <= WHEN)
        if self.until is not None:
            found.append(self.until > WHEN)
        return found

    def of_members(self) -> list[ColumnElement[bool]]:
        """The conditions on a member: status and tags are those of its archive, the time is its own."""
        found: list[ColumnElement[bool]] = []
        if self.since is not None:
            found.append(members.c.mtime_ns >= _nanoseconds(self.since))
        if self.until is not None:
            found.append(members.c.mtime_ns < _nanoseconds(self.until))
        if of_archives := self.of_archives():
            # Correlated: only the archives of members that fit otherwise are looked at.
            found.append(exists().where(FileRecord.id == members.c.archive_id, *of_archives))
        return found

    def of_archives(self) -> list[ColumnElement[bool]]:
        """Those on the archive of a member."""
        found = [tagged(FileRecord.tags, key, value) for key, value in self.tags.items()]
        if self.status is not None:
            found.append(FileRecord.status == self.status)
        elif not self.deleted:
            found.append(FileRecord.status != FileStatus.DELETED)
        return found


def _nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970, within what a column of 64 bits holds."""
    exact = (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND * 1000
    return max(-_MOST, min(exact, _MOST))
