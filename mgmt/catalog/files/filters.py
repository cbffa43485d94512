"""What narrows a search of files; member_filters.py has the same filter as conditions on members."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, func, or_

from mgmt.catalog.db.conditions import tagged
from mgmt.catalog.records.enums import FileStatus, Location
from mgmt.catalog.records.files import FileRecord

WHEN: ColumnElement[Any] = func.coalesce(FileRecord.modified_at, FileRecord.recorded_at)
"""The time of a file: when it was modified, or else recorded."""


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

    def of_archives(self) -> list[ColumnElement[bool]]:
        """Those on the archive of a member, whatever its location."""
        found = [tagged(FileRecord.tags, key, value) for key, value in self.tags.items()]
        if self.status is not None:
            found.append(FileRecord.status == self.status)
        elif not self.deleted:
            found.append(FileRecord.status != FileStatus.DELETED)
        return found
