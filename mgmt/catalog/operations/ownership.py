"""Whose an operation is: the process that runs it, whether that is alive, and how another one takes it over."""

from typing import Any, TypeVar

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from mgmt.catalog.db.conditions import clock
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.operations import OperationRecord
from mgmt.catalog.records.process import Liveness, Owner
from mgmt.errors import BusyError, LostError

Op = TypeVar("Op", bound=OperationRecord)


def holding(claim: str) -> Select[OperationRecord]:
    """The live operation that holds `claim`."""
    return select(OperationRecord).where(OperationRecord.claim == claim, OperationRecord.status.in_(LIVE))


def take_over(session: Session, holder: OperationRecord, operation: Op) -> Op:
    """Make this process the owner of the interrupted `holder`, which is the same as `operation`. Raises BusyError."""
    left = left_for(holder, operation)
    if not swap_owner(session, left):
        raise busy(left)
    return left


def left_for(holder: OperationRecord, operation: Op) -> Op:
    """The `holder` of a claim, if it is the same as `operation` and its process is dead. Raises BusyError."""
    if liveness_of(holder) is not Liveness.DEAD:
        raise busy(holder)
    if type(holder) is not type(operation) or holder.target_path != operation.target_path:
        raise BusyError(
            f"{holder.target_path}: {holder.operation_type} {holder.operation_id} was interrupted; recover it first",
            next_step="mgmt recover",
        )
    return holder


def swap_owner(session: Session, operation: OperationRecord) -> bool:
    """Compare and swap the owner, so that only one of several processes takes the operation up."""
    swapped: Any = session.execute(
        update(OperationRecord)
        .where(OperationRecord.operation_id == operation.operation_id)
        .where(OperationRecord.owner.is_not_distinct_from(operation.owner), OperationRecord.status.in_(LIVE))
        .values(owner=str(Owner.current()), status=Status.RUNNING, heard_at=clock(), cancel_requested_by=None)
        .execution_options(synchronize_session=False)
    )
    session.refresh(operation)
    return bool(swapped.rowcount)


def host_of(operation: OperationRecord) -> str | None:
    """The machine that it runs on, or was requested on."""
    return operation.host if operation.owner is None else Owner.parse(operation.owner).host


def liveness_of(operation: OperationRecord) -> Liveness:
    """Whether its process is alive."""
    return Liveness.DEAD if operation.owner is None else Owner.parse(operation.owner).liveness()


def may_be_alive(operation: OperationRecord) -> bool:
    """Whether its process is alive, or exists on this host but cannot be examined."""
    return operation.owner is not None and Owner.parse(operation.owner).may_be_alive()


def is_dead(owner: str | None) -> bool:
    """Whether the process is gone. One that cannot be examined is not."""
    return owner is None or Owner.parse(owner).liveness() is Liveness.DEAD


def taken(operation_id: str, owner: Owner) -> BusyError:
    """The error for a requested operation that another process has taken and not begun."""
    next_step = "mgmt queue"
    if owner.liveness() is Liveness.UNKNOWN:
        next_step += f"; {owner.advice(None)}"
    return BusyError(f"operation {operation_id} was taken by process {owner.pid} on {owner.host}", next_step=next_step)


def busy(operation: OperationRecord) -> BusyError:
    """The error for an operation that somebody else runs."""
    owner = Owner.parse(operation.owner) if operation.owner else None
    by = f" by process {owner.pid} on {owner.host}" if owner else ""
    since = operation.started_at.isoformat(timespec="seconds")
    heartbeat = f", last heartbeat {operation.heard_at.isoformat(timespec='seconds')}" if operation.heard_at else ""
    next_step = f"wait for it to finish, or see `mgmt status {operation.operation_id}`"
    if owner is not None and owner.liveness() is Liveness.UNKNOWN:
        next_step += f"; {owner.advice(operation.user)}"
    return BusyError(
        f"{operation.target_path}: {operation.operation_type} {operation.operation_id} has been running{by} "
        f"since {since}{heartbeat}",
        next_step=next_step,
    )


def lost(operation_id: str, owner: str | None) -> LostError:
    """The error for an operation that another process, `owner`, has taken over."""
    if owner is None:
        what = "is no longer in the catalog"
    else:
        other = Owner.parse(owner)
        what = f"was taken over by process {other.pid} on {other.host} with `mgmt recover --host`"
    return LostError(
        f"operation {operation_id} {what}; this process stops",
        next_step=f"mgmt status {operation_id}",
    )
