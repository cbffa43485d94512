"""The life of an operation: written down before it begins, closed when it ends, taken up again when it was cut off."""

import getpass
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

import mgmt
from mgmt.catalog.db.conditions import clock
from mgmt.catalog.db.database import Database
from mgmt.catalog.operations.heartbeat import Lease
from mgmt.catalog.records.base import now
from mgmt.catalog.records.enums import LIVE, FileStatus, Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import OperationFile, OperationRecord, operations
from mgmt.catalog.records.process import Fate, Owner
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.errors import BusyError, CatalogError, Interrupted, LostError, MgmtError
from mgmt.signals import held

Op = TypeVar("Op", bound=OperationRecord)
logger = logging.getLogger(__name__)


class Journal:
    """The only place where operations begin and end.

    A service changes the records it was given, and says when what it knows must be on disk:

        with journal.record(UploadRecord(target_path=path), claim=path) as upload:
            upload.stage = "uploading"
            journal.checkpoint()
            ...
            with database.transaction():            # these together, or none
                journal.link(upload, metadata.save_file_record(archive), Role.ARCHIVE)
                journal.close(upload)
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lease = Lease(database)
        database.guard(self._fence)

    @contextmanager
    def record(
        self, operation: Op, *, claim: str | None = None, unrecorded: Callable[[CatalogError], None] | None = None
    ) -> Iterator[Op]:
        """Commit `operation` as running, and on leaving the block how it ended, with everything else that changed.

        Left normally it is a success, unless the block has given it another terminal status, which is kept. An
        exception makes it failed, a KeyboardInterrupt cancelled, with the message, and goes on; changes that were not
        committed are discarded. What was taken up stays running when it is interrupted once more, as does what is
        interrupted while it cleans up after an interruption: the next run takes it up.

        `claim` names what no other live operation may have: BusyError tells who has it. If its holder is a process of
        this host that is gone, and was doing the same to the same target, *its* record is yielded instead of
        `operation`, with the stage it had reached. Without `unrecorded`, CatalogError means that nothing may start;
        with it, it is called with the reason, and the block runs on a record that is not kept.

        While the block lasts, no transaction is committed unless the operation is still this process's own: another
        machine may have been told that this one is dead. LostError says so, and the record is the other's then.
        """
        try:
            begun = self._begin(operation, claim)
        except CatalogError as error:
            if unrecorded is None:
                raise
            unrecorded(error)
            yield operation
            return
        with self._closed_at_the_end(begun, taken_up=begun is not operation):
            yield begun

    def checkpoint(self) -> None:
        """Commit the facts known so far: a killed process leaves them behind."""
        with self._database.transaction():
            pass

    def confirm(self) -> None:
        """Raise LostError unless all that this process has under way is still its own; nothing is written.

        For the moment before something that cannot be undone.
        """
        with self._database.reading() as session:
            self._fence(session)

    def link(self, operation: OperationRecord, file: FileRecord, role: Role) -> None:
        """Note that `operation` touched `file`; it is on disk with the next commit. Noting it again is harmless."""
        with self._database.reading() as session:
            noted = (x for x in session.new if isinstance(x, OperationFile))
            if any(x.operation is operation and x.file is file and x.role is role for x in noted):
                return
            if file.id is None or session.get(OperationFile, (operation.operation_id, file.id, role)) is None:
                session.add(OperationFile(operation=operation, file=file, role=role))

    def close(self, operation: OperationRecord, status: Status = Status.SUCCESS, message: str | None = None) -> None:
        """Commit how `operation` ended, and whatever else has changed. What has ended stays as it is from then on."""
        with self._database.transaction() as session:
            operation.status, operation.completed_at = status, now()
            operation.error_message = message or operation.error_message
            self._lease.end(operation)
            if isinstance(operation, UploadRecord):
                _end_sources(session, operation)
            session.flush()
            logger.info("%s of %s ends: %s", operation.operation_type, operation.target_path, operation.status)

    def interrupted(self) -> list[OperationRecord]:
        """Operations that a process of this host was cut off in, the oldest first."""
        return [operation for operation in self.running() if _fate(operation) is Fate.GONE]

    def left_by(self, host: str) -> list[OperationRecord]:
        """Operations whose process runs, or ran, on `host`, unless it is seen from here to be there; oldest first."""
        return [each for each in self.running() if _host(each) == host and not _is_there(each)]

    def unknown(self) -> list[tuple[OperationRecord, str]]:
        """Operations of which it cannot be seen from here whether their process lives, and what decides that."""
        return [
            (each, Owner.parse(each.owner).advice(each.user))
            for each in self.running()
            if each.owner is not None and _fate(each) is Fate.ELSEWHERE
        ]

    def running(self) -> list[OperationRecord]:
        """Operations that have not ended, as far as the catalog knows, the oldest first."""
        with self._database.reading() as session:
            query = select(OperationRecord).where(OperationRecord.status.in_(LIVE)).order_by(OperationRecord.seq)
            return list(session.scalars(query))

    def take_up(self, operation: Op) -> Op:
        """Make this process the owner of an operation that its own has left. BusyError when somebody has it.

        An owner that cannot be seen from here is taken at its word that it is gone by whoever calls this.
        """
        with self._database.transaction() as session:
            self._database.wait_no_longer()
            session.refresh(operation)
            if operation.status.is_terminal or _is_there(operation) or not _swap_owner(session, operation):
                raise _busy(operation)
            return operation

    @contextmanager
    def resume(self, operation: Op) -> Iterator[Op]:
        """`record`, for an interrupted operation: it is taken up, and closed on leaving the block."""
        operation = self.take_up(operation)
        with self._closed_at_the_end(operation, taken_up=True):
            yield operation

    def _begin(self, operation: Op, claim: str | None) -> Op:
        owner = Owner.current()
        with self._database.transaction() as session:
            if claim is not None:
                self._database.take_turns(claim)
                query = select(OperationRecord).where(OperationRecord.claim == claim, OperationRecord.status.in_(LIVE))
                if (holder := session.scalar(query)) is not None:
                    return _take_over(session, holder, operation)
            operation.claim, operation.owner, operation.status = claim, str(owner), Status.RUNNING
            operation.user, operation.host = operation.user or _user(), operation.host or owner.host
            operation.heard_at = clock()
            operation.mgmt_version = mgmt.__version__
            session.add(operation)
            logger.info("%s of %s begins", operation.operation_type, operation.target_path)
            return operation

    def _fence(self, session: Session) -> None:
        """What is under way here has no other owner, and will get none before the transaction ends."""
        live = [each for each in self._lease.held if each.operation.completed_at is None]
        # A query may have read a record again, with an end that another has given it.
        doubtful = [each for each in self._lease.held if each not in live and not self._lease.has_ended(each)]
        for some in (live, doubtful):
            known = operations.c.operation_id.in_([each.operation_id for each in some])
            query = select(operations.c.operation_id, operations.c.owner).where(known)
            if some is live:
                query = query.with_for_update(key_share=True)
            owners = {row.operation_id: row.owner for row in session.execute(query)} if some else {}
            for each in some:
                if (owner := owners.get(each.operation_id)) != each.owner:
                    raise _lost(each.operation_id, owner)

    @contextmanager
    def _closed_at_the_end(self, operation: OperationRecord, *, taken_up: bool) -> Iterator[None]:
        with self._lease.on(operation):
            try:
                yield
                if operation.completed_at is None:
                    self.close(operation, operation.status if operation.status.is_terminal else Status.SUCCESS)
            except BaseException as error:
                with held():
                    lost = self._close_failed(operation, error, taken_up=taken_up)
                if lost is not None and isinstance(error, Exception):
                    raise lost from error  # whoever has taken over has removed what was missed
                raise

    def _close_failed(self, operation: OperationRecord, error: BaseException, *, taken_up: bool) -> LostError | None:
        """Record what became of it; returns why that is not ours to say, if it is not."""
        # GeneratorExit: what it was yielded to was interrupted.
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
            if isinstance(error, CatalogError | LostError) or (stopped and (taken_up or again)):
                return None  # it may be half way through what only its next run, or `mgmt recover`, can finish
            with self._database.transaction() as session:
                session.refresh(operation)
                if not operation.status.is_terminal:
                    self.close(operation, status, message)
        except LostError as lost:
            return lost
        except CatalogError as lost:
            # `error` is what has to be reported. The record stays as running, which is what `mgmt recover` looks for.
            logger.error("how it ended could not be recorded: %s", lost)  # noqa: TRY400
        return None


def _end_sources(session: Session, upload: UploadRecord) -> None:
    """No original stays `pending` or `uploading` when its upload is finished."""
    sources = (
        select(FileRecord)
        .join(OperationFile, OperationFile.file_id == FileRecord.id)
        .where(OperationFile.operation_id == upload.operation_id, OperationFile.role == Role.SOURCE)
    )
    for source in session.scalars(sources):
        if source.status in (FileStatus.PENDING, FileStatus.UPLOADING):
            succeeded = upload.status is Status.SUCCESS
            source.status = FileStatus.COMPLETED if succeeded else FileStatus.FAILED
            source.error_message = upload.error_message


def _take_over(session: Session, holder: OperationRecord, operation: Op) -> Op:
    if _fate(holder) is not Fate.GONE:
        raise _busy(holder)
    if type(holder) is not type(operation) or holder.target_path != operation.target_path:
        raise BusyError(
            f"{holder.target_path}: its {holder.operation_type} {holder.operation_id} was interrupted, and comes first",
            next_step="mgmt recover",
        )
    if not _swap_owner(session, holder):
        raise _busy(holder)
    return holder


def _swap_owner(session: Session, operation: OperationRecord) -> bool:
    """Compare and swap: of several that want to take it up, one does."""
    swapped: Any = session.execute(
        update(OperationRecord)
        .where(OperationRecord.operation_id == operation.operation_id)
        .where(OperationRecord.owner.is_not_distinct_from(operation.owner), OperationRecord.status.in_(LIVE))
        .values(owner=str(Owner.current()), status=Status.RUNNING, heard_at=clock())
        .execution_options(synchronize_session=False)
    )
    session.refresh(operation)
    return bool(swapped.rowcount)


def _host(operation: OperationRecord) -> str | None:
    return operation.host if operation.owner is None else Owner.parse(operation.owner).host


def _fate(operation: OperationRecord) -> Fate:
    return Fate.GONE if operation.owner is None else Owner.parse(operation.owner).fate()


def _is_there(operation: OperationRecord) -> bool:
    """Its process is alive, or exists on this host but is hidden from us: that this host is down cannot be right."""
    fate = _fate(operation)
    near = fate is Fate.ELSEWHERE and operation.owner is not None and Owner.parse(operation.owner).is_near()
    return fate is Fate.ALIVE or near


def _busy(operation: OperationRecord) -> BusyError:
    owner = Owner.parse(operation.owner) if operation.owner else None
    by = f" by process {owner.pid} on {owner.host}" if owner else ""
    since = operation.started_at.isoformat(timespec="seconds")
    heard = f", last heard of {operation.heard_at.isoformat(timespec='seconds')}" if operation.heard_at else ""
    next_step = f"wait for it, or look at it with `mgmt status {operation.operation_id}`"
    if owner is not None and owner.fate() is Fate.ELSEWHERE:
        next_step += f"; {owner.advice(operation.user)}"
    return BusyError(
        f"{operation.target_path}: {operation.operation_type} {operation.operation_id} is under way{by} "
        f"since {since}{heard}",
        next_step=next_step,
    )


def _lost(operation_id: str, owner: str | None) -> LostError:
    if owner is None:
        what = "is no longer in the catalog"
    else:
        other = Owner.parse(owner)
        what = f"was taken over by process {other.pid} on {other.host}, as this machine was said to be dead"
    return LostError(
        f"operation {operation_id} {what}: this process ends here",
        next_step=f"mgmt status {operation_id}",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container may run as a number without a name
