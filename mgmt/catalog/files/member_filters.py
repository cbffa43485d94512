"""The filter of files as conditions on the members of archives."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, exists

from mgmt.catalog.files.filters import FileFilter
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.member_tables import members

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST = 2**63 - 1


def conditions(only: FileFilter) -> list[ColumnElement[bool]]:
    """The conditions on a member: status and tags are those of its archive, the time is its own."""
    found: list[ColumnElement[bool]] = []
    if only.since is not None:
        found.append(members.c.mtime_ns >= _nanoseconds(only.since))
    if only.until is not None:
        found.append(members.c.mtime_ns < _nanoseconds(only.until))
    if of_archives := only.of_archives():
        # Correlated: only the archives of members that fit otherwise are looked at.
        found.append(exists().where(FileRecord.id == members.c.archive_id, *of_archives))
    return found


def _nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970, within what a column of 64 bits holds."""
    exact = (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND * 1000
    return max(-_MOST, min(exact, _MOST))
