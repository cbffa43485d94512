"""Restores of frozen archives: at most one at a time for each archive, pending until the archive can be read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.ending import end_unrun
from mgmt.catalog.operations.queue import NewJob, Queue
from mgmt.catalog.records.base import now
from mgmt.catalog.records.cold import RestoreRecord
from mgmt.catalog.records.enums import Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.jobs import DependencyRecord, JobRecord
from mgmt.catalog.records.operations import OperationFile, OperationRecord, operations
from mgmt.catalog.records.transfers import DownloadRecord


class Archived(Protocol):
    """What tells an archive from any other."""

    @property
    def id(self) -> int:
        """Of its record."""
        ...

    @property
    def store(self) -> str | None:
        """The URL of its store."""
        ...

    @property
    def s3_object_key(self) -> str | None:
        """Its key, which is used again."""
        ...

    @property
    def archive_id(self) -> str | None:
        """What its object carries."""
        ...


class Thaws:
    """Restores. None of them ever runs: the store is asked, and looked at until the archive can be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, restore: RestoreRecord, job: JobRecord, archive: FileRecord | None) -> RestoreRecord:
        """The pending restore of the same archive; `restore`, recorded as pending with its `job`, if there is none.

        If `restore` is pending already, as it was requested to run later, it gets the facts that it has now.
        """
        with self._database.transaction() as session:
            self._database.advisory_lock(f"restore {restore.store}/{restore.s3_object_key}")
            other = session.scalars(_of(restore).where(operations.c.status == Status.PENDING)).first()
            if other is not None and other is not restore:
                return other
            if not restore.is_recorded:
                Queue(self._database).add([NewJob(restore, job)])
            if archive is not None:
                link = session.get(OperationFile, (restore.operation_id, archive.id, Role.ARCHIVE))
                if link is None:
                    session.add(OperationFile(operation=restore, file=archive, role=Role.ARCHIVE))
            return restore

    def live(self, store: str, key: str, archive_id: str | None) -> RestoreRecord | None:
        """The pending restore of an archive; None if there is none."""
        wanted = RestoreRecord(store=store, s3_object_key=key, archive_id=archive_id)
        with self._database.reading() as session:
            return session.scalars(_of(wanted).where(operations.c.status == Status.PENDING)).first()

    def latest_of(self, archives: Sequence[Archived]) -> dict[int, RestoreRecord]:
        """The last restore of each of these archives that the store was asked for, by the id of the archive."""
        by_key = {(each.store, each.s3_object_key): each for each in archives}
        query = select(RestoreRecord).where(RestoreRecord.requested_at.is_not(None))
        found: dict[int, RestoreRecord] = {}
        keys = sorted({str(key) for _, key in by_key})
        with self._database.reading() as session:
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                for each in session.scalars(
                    query.where(RestoreRecord.s3_object_key.in_(some)).order_by(RestoreRecord.seq)
                ):
                    archive = by_key.get((each.store, each.s3_object_key))
                    if archive is not None and archive.archive_id in (None, each.archive_id):
                        found[archive.id] = each
        return found

    def pending(self) -> list[RestoreRecord]:
        """The restores that the store was asked for, and whose archives could not be read yet, oldest first."""
        query = select(RestoreRecord).where(RestoreRecord.status == Status.PENDING)
        with self._database.reading() as session:
            found = query.where(RestoreRecord.requested_at.is_not(None)).order_by(RestoreRecord.seq)
            return list(session.scalars(found))

    def to_fetch(self) -> list[RestoreRecord]:
        """The restores whose archives can be read now, were not downloaded since, and for which no download waits."""
        made, link = aliased(DownloadRecord), aliased(OperationFile)
        own = aliased(OperationFile)
        fetched = (
            exists()
            .where(own.operation_id == RestoreRecord.operation_id, own.role == Role.ARCHIVE)
            .where(link.file_id == own.file_id, link.role == Role.ARCHIVE, made.operation_id == link.operation_id)
            .where(made.status == Status.SUCCESS, made.member.is_(None))
            .where(made.completed_at >= func.coalesce(RestoreRecord.requested_at, RestoreRecord.ready_at))
        )
        awaited = exists().where(DependencyRecord.after_id == RestoreRecord.operation_id)
        query = select(RestoreRecord).where(RestoreRecord.status == Status.SUCCESS, RestoreRecord.expires_at > now())
        with self._database.reading() as session:
            return list(session.scalars(query.where(~fetched, ~awaited).order_by(RestoreRecord.seq)))

    def is_awaited(self, restore: RestoreRecord) -> bool:
        """Whether a requested operation waits for `restore`."""
        query = select(DependencyRecord.operation_id).where(DependencyRecord.after_id == restore.operation_id)
        with self._database.reading() as session:
            return session.scalar(query.limit(1)) is not None

    def note_requested(self, restore: RestoreRecord, expected_at: datetime) -> None:
        """The store is at it. Nobody needs to look before `expected_at`."""
        with self._database.transaction() as session:
            restore.requested_at, restore.expected_at = restore.requested_at or now(), expected_at
            self._look_again(session, restore.operation_id, expected_at)

    def look_again(self, restore: RestoreRecord, at: datetime) -> None:
        """It could not be read yet: a worker looks again at this time."""
        with self._database.transaction() as session:
            self._look_again(session, restore.operation_id, at)

    def note_ready(self, restore: RestoreRecord, expires_at: datetime | None) -> None:
        """The archive can be read until `expires_at`, or for good: the restore has succeeded."""
        with self._database.transaction() as session:
            session.refresh(restore)
            if restore.status != Status.PENDING:
                return
            restore.ready_at, restore.expires_at = now(), expires_at
            session.flush()  # its end reads it anew
            end_unrun(session, restore.operation_id, Status.SUCCESS, "")

    def note_failed(self, restore: RestoreRecord, message: str) -> None:
        """The archive will not become readable."""
        with self._database.transaction() as session:
            end_unrun(session, restore.operation_id, Status.FAILED, message)

    def let_wait(self, operation_id: str, restore: RestoreRecord, detail: str) -> None:
        """Give back a requested operation, which this process has taken, until `restore` has succeeded.

        The operation's `detail` names the restore from then on.
        """
        with self._database.transaction() as session:
            job = session.get(JobRecord, operation_id, populate_existing=True)
            operation = session.get(OperationRecord, operation_id)
            if job is None or operation is None:
                return
            operation.details = {**operation.details, detail: restore.operation_id}
            job.taken_by = None
            if session.get(DependencyRecord, (operation_id, restore.operation_id)) is None:
                session.add(DependencyRecord(operation_id=operation_id, after_id=restore.operation_id))

    def _look_again(self, session: Session, operation_id: str, at: datetime) -> None:
        job = session.get(JobRecord, operation_id, populate_existing=True)
        if job is not None:
            job.taken_by, job.not_before = None, at


def _of(restore: RestoreRecord) -> Select[RestoreRecord]:
    """The restores of the same archive."""
    return select(RestoreRecord).where(
        RestoreRecord.store == restore.store,
        RestoreRecord.s3_object_key == restore.s3_object_key,
        RestoreRecord.archive_id.is_not_distinct_from(restore.archive_id),
    )
