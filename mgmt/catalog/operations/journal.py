"""The life of an operation: recorded before it begins, closed when it ends, taken up again if it is interrupted."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

import mgmt
from mgmt.catalog.db.conditions import clock
from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.heartbeat import Advance, Heartbeat
from mgmt.catalog.operations.job_table import concerns_queue, with_jobs
from mgmt.catalog.operations.ownership import (
    busy,
    holding,
    host_of,
    left_for,
    liveness_of,
    lost,
    may_be_alive,
    swap_owner,
    take_over,
)
from mgmt.catalog.operations.sources import end_sources
from mgmt.catalog.records.base import now
from mgmt.catalog.records.enums import Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import UPLOAD, OperationFile, OperationRecord, operations
from mgmt.catalog.records.process import Liveness, Owner, current_user
from mgmt.errors import CatalogError, Interrupted, LostError, MgmtError, RefusedError, UnsettledError
from mgmt.signals import held

Op = TypeVar("Op", bound=OperationRecord)
logger = logging.getLogger(__name__)


class Journal:
    """Begins and ends operations; nothing else does.

    A service changes the records it is given, and calls `checkpoint` when the changes must be on disk:

        with journal.record(UploadRecord(target_path=path), claim=path) as upload:
            upload.stage = "uploading"
            journal.checkpoint()
            ...
            with database.transaction():            # all of these, or none
                journal.link(upload, metadata.save_file_record(archive), Role.ARCHIVE)
                journal.close(upload)
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heartbeat = Heartbeat(database)
        self._links: dict[str, set[tuple[int, Role]]] = {}
        """The links of each operation that this process began, as committed: nobody else has made one."""
        self._new_links: list[OperationFile] = []
        """Those that are not committed yet. Later, nothing here holds the records: a rebuild links all archives."""
        self._requested: str | None = None
        self.at_begin: list[Callable[[OperationRecord], None]] = []
        """Called when `record` has begun an operation."""
        database.guard(self._fence)
        database.listen("after_commit", self._note_links)

    @contextmanager
    def record(
        self, operation: Op, *, claim: str | None = None, unrecorded: Callable[[CatalogError], None] | None = None
    ) -> Iterator[Op]:
        """Commit `operation` as running; on leaving the block, commit its outcome and every other change.

        Leaving normally means success, unless the block has set another terminal status. An exception means failed, a
        KeyboardInterrupt cancelled; its message is recorded, uncommitted changes are discarded, and it is re-raised.
        An operation that was taken up stays running if it is interrupted again, as does one that is interrupted during
        its cleanup: the next run takes it up.

        `claim` is a resource that no other live operation may hold; BusyError names the holder. If the holder is a dead
        process of this host that ran the same type of operation on the same target, *its* record is yielded instead of
        `operation`, with the stage it had reached. Without `unrecorded`, a CatalogError means that nothing may start;
        with it, `unrecorded` is called with the error, and the block runs with a record that is not stored.

        Inside the block, a transaction is committed only if this process still owns the operation. If another host has
        taken it over (`mgmt recover --host`), LostError is raised, and the record belongs to that host.
        """
        try:
            begun = self._begin(operation, claim)
        except CatalogError as error:
            if unrecorded is None:
                raise
            unrecorded(error)
            operation.claim = operation.owner = operation.heard_at = None
            yield operation
            if not operation.status.is_terminal:
                operation.status, operation.completed_at = Status.SUCCESS, now()
            return
        except KeyboardInterrupt as interruption:
            if operation.is_recorded:  # the signal came during the commit
                with held():
                    self._close_failed(operation, interruption, taken_up=False)
            raise
        operation_id = begun.operation_id
        if begun is operation:
            self._links[operation_id] = set()
        try:
            with self._closing(begun, taken_up=begun is not operation):
                for tell in self.at_begin:
                    tell(begun)
                yield begun
        finally:
            self._links.pop(operation_id, None)

    def watch(self, advance: Advance) -> None:
        """Let heartbeats say how far the current work is."""
        self._heartbeat.advance = advance

    def run_requested(self, operation_id: str) -> None:
        """Let the next `record` of an operation of this type be that of the requested operation `operation_id`.

        It becomes `running`, and keeps its id, its place in the history and the arguments it was requested with. Its
        claim may turn out to be held by an interrupted operation; then that one is taken up, as always.
        """
        self._requested = operation_id

    def foresee(self, operation: Op, claim: str) -> Op | None:
        """The record that `record` would yield instead of `operation`; None if it would begin `operation`.

        Raises BusyError as `record` would. Writes nothing.
        """
        with self._database.reading() as session:
            holder = session.scalar(holding(claim))
            return None if holder is None else left_for(holder, operation)

    def checkpoint(self) -> None:
        """Commit all changes of records made so far, so that they survive if the process is killed."""
        with self._database.transaction():
            pass

    def confirm(self) -> None:
        """Raise LostError unless this process still owns every operation that it runs. Writes nothing.

        Call it just before something that cannot be undone.
        """
        with self._database.reading() as session:
            self._fence(session)

    def link(self, operation: OperationRecord, file: FileRecord, role: Role) -> None:
        """Record that `operation` touched `file`; the next commit writes it. Calling it twice is harmless."""
        with self._database.reading() as session:
            own = self._links.get(operation.operation_id)
            if own is not None and (file.id, role) in own:
                return
            made = self._new_links if own is not None else [x for x in session.new if isinstance(x, OperationFile)]
            # What was rolled back is in the session no more.
            if any(x in session and x.operation is operation and x.file is file and x.role is role for x in made):
                return
            key = (operation.operation_id, file.id, role)
            if own is None and file.id is not None and session.get(OperationFile, key) is not None:
                return
            link = OperationFile(operation=operation, file=file, role=role)
            session.add(link)
            if own is not None:
                self._new_links.append(link)

    def _note_links(self, session: Session) -> None:
        for link in self._new_links:
            if link in session and link not in session.new and link.operation_id in self._links:
                self._links[link.operation_id].add((link.file_id, link.role))
        self._new_links = [link for link in self._new_links if link in session.new]

    def close(
        self,
        operation: OperationRecord,
        status: Status = Status.SUCCESS,
        message: str | None = None,
        *,
        retryable: bool = False,
    ) -> None:
        """Commit the outcome of `operation`, and every other change. The operation is final from then on.

        What waits for it may run, or is cancelled; if it was requested, has failed and is `retryable`, another attempt
        follows.
        """
        with self._database.transaction() as session:
            operation.status, operation.completed_at = status, now()
            operation.error_message = message or operation.error_message
            self._heartbeat.note_end(operation)
            if operation.operation_type == UPLOAD:
                end_sources(session, operation)
            session.flush()
            if self._database.at_end or concerns_queue(session, operation.operation_id, operation.parent_id):
                from mgmt.catalog.operations.ending import note_end  # maps what few operations need

                note_end(session, operation, retryable=retryable)
            logger.info("%s of %s ends: %s", operation.operation_type, operation.target_path, operation.status)

    def interrupted(self) -> list[OperationRecord]:
        """Operations whose process on this host has died, oldest first.

        Those of an unknown type are left out, and those with a job: a worker runs them again.
        """
        return [
            each for each in self._without_job(self.running()) if each.is_known and liveness_of(each) is Liveness.DEAD
        ]

    def left_to_workers(self) -> list[OperationRecord]:
        """Operations whose process on this host has died, and that a worker runs again, oldest first."""
        running = self.running()
        others = self._without_job(running)
        return [each for each in running if each not in others and liveness_of(each) is Liveness.DEAD]

    def left_by(self, host: str) -> list[OperationRecord]:
        """Live operations of `host`, oldest first, except those whose process may be alive as seen from here.

        Those of an unknown type are left out: what they have left behind is unknown as well.
        """
        return [each for each in self.running() if each.is_known and host_of(each) == host and not may_be_alive(each)]

    def unknown(self) -> list[tuple[OperationRecord, str]]:
        """Live operations of which only the user can tell whether they have ended, each with advice on how to find out.

        Their process cannot be examined from here, or this mgmt does not know their type.
        """
        running = self.running()
        strange = [
            (each, "this mgmt does not know its type; run mgmt db check") for each in running if not each.is_known
        ]
        return strange + [
            (each, Owner.parse(each.owner).advice(each.user))
            for each in running
            if each.is_known and each.owner is not None and liveness_of(each) is Liveness.UNKNOWN
        ]

    def running(self) -> list[OperationRecord]:
        """Operations that have begun and not ended according to the catalog, oldest first."""
        from mgmt.catalog.records.operation_types import AnyOperation  # maps every type, and few commands read any

        with self._database.reading() as session:
            query = select(AnyOperation).where(AnyOperation.status == Status.RUNNING).order_by(AnyOperation.seq)
            return list(session.scalars(query))

    def _without_job(self, running: list[OperationRecord]) -> list[OperationRecord]:
        if not running:
            return []
        with self._database.reading() as session:
            requested = with_jobs(session, [each.operation_id for each in running])
        return [each for each in running if each.operation_id not in requested]

    def take_up(self, operation: Op) -> Op:
        """Make this process the owner of an interrupted operation. Raises BusyError if its process may be alive.

        The caller vouches that an owner that cannot be examined from here is dead.
        """
        with self._database.transaction() as session:
            session.refresh(operation)
            if operation.status.is_terminal or may_be_alive(operation) or not swap_owner(session, operation):
                raise busy(operation)
            return operation

    @contextmanager
    def resume(self, operation: Op) -> Iterator[Op]:
        """Like `record`, for an interrupted operation: take it up, and close it on leaving the block."""
        operation = self.take_up(operation)
        with self._closing(operation, taken_up=True):
            yield operation

    def _begin(self, operation: Op, claim: str | None) -> Op:
        owner = Owner.current()
        with self._database.transaction() as session:
            if claim is not None:
                self._database.advisory_lock(claim)
                if (holder := session.scalar(holding(claim))) is not None:
                    return take_over(session, holder, operation)
            if (requested := self._take_requested(session, operation)) is not None:
                operation = requested
            operation.claim, operation.owner, operation.status = claim, str(owner), Status.RUNNING
            operation.user, operation.host = operation.user or current_user(), operation.host or owner.host
            operation.heard_at = clock()
            operation.mgmt_version = mgmt.__version__
            session.add(operation)
            logger.info("%s of %s begins", operation.operation_type, operation.target_path)
            return operation

    def _take_requested(self, session: Session, operation: Op) -> Op | None:
        """The requested operation, with what is known of the one that begins; None if that is of another type."""
        if self._requested is None:
            return None
        query = select(type(operation)).where(type(operation).operation_id == self._requested)
        locked = query.with_for_update(of=operations).execution_options(populate_existing=True)
        if (requested := session.scalar(locked)) is None:
            return None
        if requested.status.is_terminal:
            raise RefusedError(f"{requested.operation_type} {requested.operation_id} has ended as {requested.status}")
        if may_be_alive(requested):
            raise busy(requested)
        self._requested = None
        if requested.status == Status.PENDING:
            for attribute in inspect(type(operation)).column_attrs:
                value = getattr(operation, attribute.key)
                if attribute.key not in _OF_THE_REQUEST and value is not None:
                    setattr(requested, attribute.key, value)
            requested.started_at, requested.host = now(), None
        requested.cancel_requested_by = None
        return requested

    def _fence(self, session: Session) -> None:
        """Raise LostError unless this process owns the operations that it runs, and keeps them until the commit."""
        live = [each for each in self._heartbeat.running if each.operation.completed_at is None]
        # A query may have refreshed a record that another process has closed.
        doubtful = [
            each for each in self._heartbeat.running if each not in live and not self._heartbeat.finished_here(each)
        ]
        for some in (live, doubtful):
            known = operations.c.operation_id.in_([each.operation_id for each in some])
            query = select(operations.c.operation_id, operations.c.owner).where(known)
            if some is live:
                query = query.with_for_update(key_share=True)
            owners = {row.operation_id: row.owner for row in session.execute(query)} if some else {}
            for each in some:
                if (owner := owners.get(each.operation_id)) != each.owner:
                    raise lost(each.operation_id, owner)

    @contextmanager
    def _closing(self, operation: OperationRecord, *, taken_up: bool) -> Iterator[None]:
        with self._heartbeat.of(operation):
            try:
                yield
                if operation.completed_at is None:
                    self.close(operation, operation.status if operation.status.is_terminal else Status.SUCCESS)
            except BaseException as error:
                with held():
                    gone = self._close_failed(operation, error, taken_up=taken_up)
                if gone is not None and isinstance(error, Exception):
                    raise gone from error  # the other process caused the error: it removed what was missing
                raise

    def _close_failed(self, operation: OperationRecord, error: BaseException, *, taken_up: bool) -> LostError | None:
        """Record the failure; return a LostError instead if another process owns the operation."""
        # GeneratorExit: the code that the record was yielded to was interrupted.
        stopped = isinstance(error, (KeyboardInterrupt, GeneratorExit))
        status = Status.CANCELLED if stopped else Status.FAILED
        message = (
            error.message
            if isinstance(error, MgmtError)
            else str(error) or ("interrupted" if isinstance(error, GeneratorExit) else type(error).__name__)
        )
        try:
            self._database.discard()
            again = isinstance(error, Interrupted) and error.again
            if isinstance(error, CatalogError | LostError | UnsettledError) or (stopped and again):
                return None  # stays running: only its next run or `mgmt recover` can finish a half-done step
            with self._database.transaction() as session:
                session.refresh(operation)
                if operation.status.is_terminal:
                    return None
                if stopped and operation.cancel_requested_by is not None:
                    message = f"cancelled by {operation.cancel_requested_by}"
                elif stopped and taken_up:
                    return None  # as above
                self.close(operation, status, message, retryable=getattr(error, "retryable", False))
        except LostError as lost:
            return lost
        except CatalogError as lost:
            # Report `error`. The record stays `running`, and `mgmt recover` finds it.
            logger.error("the outcome could not be recorded: %s", lost)  # noqa: TRY400
        return None


_OF_THE_REQUEST = {
    *("operation_id", "operation_type", "seq", "parent_id", "retry_of", "user", "command_args", "status", "details"),
    *("claim", "owner", "heard_at", "host", "started_at", "mgmt_version"),
}
"""What an operation that was requested has when it begins."""
