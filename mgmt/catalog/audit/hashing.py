"""How an operation becomes final: the sha256 of all that is recorded of it is committed together with how it ended."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Mapper, Session, object_session
from sqlalchemy.orm.attributes import set_committed_value

from mgmt.catalog.audit.canonical import said
from mgmt.catalog.records.operations import OperationRecord

_ENDED = "ended"
_COMMITTED = "has ended"
_HASH = text("UPDATE operations SET sha256 = :sha256 WHERE operation_id = :id AND sha256 IS NULL")


def watch(session: Session) -> None:
    """Hash what ends in `session`, at the end of its transaction: what is written of it by then is what it says."""
    event.listen(session, "before_commit", _hash)
    event.listen(session, "after_rollback", lambda rolled_back: rolled_back.info.pop(_ENDED, None))


def has_ended(session: Session) -> bool:
    """An operation has ended in `session` before."""
    return _COMMITTED in session.info


@event.listens_for(OperationRecord, "after_insert", propagate=True)
@event.listens_for(OperationRecord, "after_update", propagate=True)
def _note(_mapper: Mapper[Any], _connection: Connection, operation: OperationRecord) -> None:
    session = object_session(operation)
    if operation.status.is_terminal and session is not None:
        session.info.setdefault(_ENDED, {})[operation.operation_id] = operation


def _hash(session: Session) -> None:
    session.flush()
    ended: dict[str, OperationRecord] = session.info.pop(_ENDED, {})
    for operation_id, digest in _digests(session, ended):
        session.connection().execute(_HASH, {"sha256": digest, "id": operation_id})
        set_committed_value(ended[operation_id], "sha256", digest)
        session.info[_COMMITTED] = True


def _digests(session: Session, ended: dict[str, OperationRecord]) -> Iterator[tuple[str, bytes]]:
    for operation_id in ended:
        for each in said(session.connection(), "o.operation_id = :id", {"id": operation_id}):
            if each.sha256 is None:
                yield operation_id, each.digest
