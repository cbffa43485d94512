"""Where the members of archives are: their ids are adjacent, so a range of ids stands for those of an archive."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from mgmt.catalog.files.filters import FileFilter
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.member_tables import member_ranges, members


def bounds(session: Session, archive_id: int | None) -> tuple[int | None, int | None, int, int]:
    """The first and the last id of the archive's range, None for none; then what `ends` returns."""
    own = member_ranges.c.archive_id == archive_id
    first = select(member_ranges.c.first_id).where(own).scalar_subquery()
    last = select(member_ranges.c.last_id).where(own).scalar_subquery()
    last_of_all = select(func.coalesce(func.max(member_ranges.c.last_id), 0)).scalar_subquery()
    newest_of_all = select(func.coalesce(func.max(members.c.id), 0)).scalar_subquery()
    # One statement: on PostgreSQL a concurrent commit of members and their range could come between two.
    own_first, own_last, end, newest = session.execute(select(first, last, last_of_all, newest_of_all)).one()
    return own_first, own_last, end, newest if newest > end else 0


def ends(session: Session) -> tuple[int, int]:
    """The last id of all ranges, and that of members beyond them, which another program inserted; 0 for none."""
    return bounds(session, None)[2:]


def adopt(session: Session) -> None:
    """Give members beyond the last range a range, before members are added there."""
    end, newest = ends(session)
    if newest:
        found = select(members.c.archive_id, func.min(members.c.id), func.max(members.c.id))
        for archive_id, first, last in session.execute(
            found.where(members.c.id > end).group_by(members.c.archive_id)
        ).all():
            extend(session, archive_id, first, last)


def extend(session: Session, archive_id: int, first: int, last: int) -> None:
    """Extend the range of the archive to the ids from `first` to `last`."""
    known = select(member_ranges.c.first_id).where(member_ranges.c.archive_id == archive_id)
    extended = {"archive_id": archive_id, "first_id": session.scalar(known) or first, "last_id": last}
    session.execute(delete(member_ranges).where(member_ranges.c.archive_id == archive_id))
    session.execute(member_ranges.insert().values(extended))


def stretches(session: Session, archives: Select[int]) -> list[tuple[int, int]]:
    """The first and the last ids of stretches of members that belong to `archives`; the newest first, none twice."""
    ranges = select(member_ranges.c.first_id, member_ranges.c.last_id).where(member_ranges.c.archive_id.in_(archives))
    found: list[tuple[int, int]] = []
    for first, last in session.execute(ranges.order_by(member_ranges.c.last_id.desc())):
        if found and found[-1][0] <= last + 1:
            after, end = found.pop()
            first, last = min(first, after), end
        found.append((first, last))
    return found


def inside(query: Select[Any], stretches: Iterable[tuple[int, int]], after: int | None) -> Iterator[Select[Any]]:
    """`query` for each stretch, of members with ids below `after`."""
    for first, last in stretches:
        yield query.where(members.c.id.between(first, last if after is None else min(last, after - 1)))


def within(session: Session, only: FileFilter, most: int | None = None) -> list[tuple[int, int]] | None:
    """The stretches of members whose archives fit, with those that are in no range.

    None when every archive fits, or more than `most`.
    """
    conditions = only.of_archives()
    if not conditions:
        return None
    if most is not None and len(session.scalars(select(FileRecord.id).where(*conditions).limit(most + 1)).all()) > most:
        return None
    end, newest = ends(session)
    beyond = [(end + 1, newest)] if newest else []
    return beyond + stretches(session, select(FileRecord.id).where(*conditions))
