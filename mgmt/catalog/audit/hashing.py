"""Hashes operations: the sha256 of the whole record is committed in the transaction that finishes the operation."""

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from mgmt.catalog.audit.canonical import canonical_rows, sub_tables_of
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.operations import OperationRecord

_HASH = text("UPDATE operations SET sha256 = :sha256 WHERE operation_id = :id AND sha256 IS NULL")


class Hasher:
    """Hashes each operation that finishes in `database`, at the end of its transaction."""

    def __init__(self, database: Database) -> None:
        self.has_hashed = False
        """An operation has finished since this object was created."""
        self._finished: dict[str, OperationRecord] = {}
        database.listen("after_flush", self._note)
        database.listen("before_commit", self._hash)
        database.listen("after_rollback", self._forget)

    def _note(self, session: Session, _flush: object) -> None:
        for record in (*session.new, *session.dirty):
            if isinstance(record, OperationRecord) and record.status.is_terminal:
                self._finished[record.operation_id] = record

    def _hash(self, session: Session) -> None:
        session.flush()
        finished, self._finished = self._finished, {}
        for operation_id, digest in _digests(session, finished):
            session.connection().execute(_HASH, {"sha256": digest, "id": operation_id})
            set_committed_value(finished[operation_id], "sha256", digest)
            self.has_hashed = True

    def _forget(self, _session: Session) -> None:
        self._finished.clear()


def _digests(session: Session, finished: dict[str, OperationRecord]) -> Iterator[tuple[str, bytes]]:
    for operation_id, record in finished.items():
        tables = sub_tables_of(type(record)) if record.is_known else None
        for each in canonical_rows(session.connection(), "o.operation_id = :id", {"id": operation_id}, tables):
            if each.sha256 is None:
                yield operation_id, each.digest
