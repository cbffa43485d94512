"""The archives and operations that a page lists: the newest, as plain rows, because there are many."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.times import month_of
from mgmt.catalog.files.filters import WHEN
from mgmt.catalog.records.enums import FileStatus, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import operations

_ARCHIVE: tuple[Any, ...] = (
    FileRecord.path, FileRecord.store, FileRecord.storage_class, FileRecord.size, FileRecord.original_size,
    WHEN, FileRecord.proven_at, FileRecord.tags,
)  # fmt: skip
_STARTED = operations.c.started_at
_OPERATION: tuple[Any, ...] = (
    operations.c.operation_id, operations.c.operation_type, operations.c.status, operations.c.target_path, _STARTED,
    operations.c.completed_at, operations.c.error_message,
)  # fmt: skip
UNSUCCESSFUL = (Status.FAILED, Status.PARTIAL)


class StoredArchive(NamedTuple):
    """An archive that is stored. Sizes are in bytes."""

    key: str
    store: str
    storage_class: str | None
    size: int | None
    original_size: int | None
    archived_at: datetime
    """When it was stored, or else recorded."""
    proven_at: datetime | None
    tags: dict[str, str]


class PastOperation(NamedTuple):
    """An operation of a month."""

    operation_id: str
    operation_type: str
    status: Status
    target: str | None
    started_at: datetime
    completed_at: datetime | None
    error: str | None


class PageRows:
    """Lists for a page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def archives(self, most: int) -> Iterator[StoredArchive]:
        """Archives that are stored, the one recorded last first."""
        query = select(*_ARCHIVE)
        query = query.where(FileRecord.store.is_not(None), FileRecord.status != FileStatus.DELETED)
        with self._database.reading() as session:
            for row in session.execute(query.order_by(FileRecord.id.desc()).limit(most)):
                yield StoredArchive(*row)

    def operations(self, periods: Sequence[tuple[datetime, datetime]], most: int) -> list[list[PastOperation]]:
        """Of each period up to `most` operations that started in it: first those that failed, then the newest.

        A period includes its start, not its end. Each is within a month of UTC, and they are in order.
        """
        if not periods:
            return []
        with self._database.reading() as session:
            found = _by_period(periods, (PastOperation(*row) for row in session.execute(_failed(periods, most))))
            for period, listed in zip(periods, found, strict=True):
                if len(listed) < most:
                    rows = session.execute(_others(period).limit(most - len(listed)))
                    listed.extend(PastOperation(*row) for row in rows)
        return found


def _failed(periods: Sequence[tuple[datetime, datetime]], most: int) -> Select[Any]:
    """The newest of each month. They are few, and read once: month by month, a database reads all of them each time."""
    rank = func.row_number().over(partition_by=month_of(_STARTED), order_by=_STARTED.desc()).label("rank")
    within = periods[0][0] <= _STARTED, periods[-1][1] > _STARTED
    ranked = select(*_OPERATION, rank).where(operations.c.status.in_(UNSUCCESSFUL), *within).subquery()
    query = select(*list(ranked.c)[:-1]).where(ranked.c.rank <= most)
    return query.order_by(ranked.c.started_at.desc())


def _others(period: tuple[datetime, datetime]) -> Select[Any]:
    query = select(*_OPERATION).where(period[0] <= _STARTED, period[1] > _STARTED)
    return query.where(operations.c.status.not_in(UNSUCCESSFUL)).order_by(_STARTED.desc())


def _by_period(
    periods: Sequence[tuple[datetime, datetime]], rows: Iterable[PastOperation]
) -> list[list[PastOperation]]:
    found: list[list[PastOperation]] = [[] for _ in periods]
    starts = [start for start, _ in periods]
    for each in rows:
        found[bisect_right(starts, each.started_at) - 1].append(each)
    return found
