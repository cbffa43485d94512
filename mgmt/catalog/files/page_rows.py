"""The archives and operations that a page lists: the newest, as plain rows, because there are many."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.files.filters import WHEN
from mgmt.catalog.records.enums import FileStatus, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import operations

_ARCHIVE: tuple[Any, ...] = (
    FileRecord.path, FileRecord.store, FileRecord.storage_class, FileRecord.size, FileRecord.original_size,
    WHEN, FileRecord.proven_at, FileRecord.tags,
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

        A period includes its start, not its end.
        """
        with self._database.reading() as session:
            found = []
            for period in periods:
                listed = session.execute(_of(period, failed=True).limit(most)).all()
                if len(listed) < most:
                    listed = [*listed, *session.execute(_of(period, failed=False).limit(most - len(listed)))]
                found.append([PastOperation(*row) for row in listed])
        return found


def _of(period: tuple[datetime, datetime], *, failed: bool) -> Select[Any]:
    columns = operations.c
    query = select(
        columns.operation_id, columns.operation_type, columns.status, columns.target_path, columns.started_at,
        columns.completed_at, columns.error_message,
    )  # fmt: skip
    query = query.where(columns.started_at >= period[0], columns.started_at < period[1])
    unsuccessful = columns.status.in_(UNSUCCESSFUL)
    return query.where(unsuccessful if failed else ~unsuccessful).order_by(columns.started_at.desc())
