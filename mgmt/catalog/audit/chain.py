"""The audit trail: chains finished operations with seals, so that tampering is detected."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from mgmt.catalog.audit.canonical import dumps, plain_time
from mgmt.catalog.audit.hashing import Hasher
from mgmt.catalog.audit.seals import Seal, digest_of, last_seal
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.base import now
from mgmt.catalog.records.seal import SealRecord
from mgmt.errors import CatalogError

if TYPE_CHECKING:
    from mgmt.catalog.audit.verification import Anchor, Verification

BATCH = 1_000
"""Maximum number of operations in a seal."""

logger = logging.getLogger(__name__)

_UNSEALED = "seal IS NULL AND sha256 IS NOT NULL"
_ANY_UNSEALED = text(f"SELECT 1 FROM operations WHERE {_UNSEALED} LIMIT 1")  # noqa: S608
_NEXT = text(f"SELECT seq, operation_id, sha256 FROM operations WHERE {_UNSEALED} ORDER BY seq LIMIT :limit")  # noqa: S608
_MARK = text(f"UPDATE operations SET seal = :seal WHERE {_UNSEALED} AND operation_id IN :ids").bindparams(  # noqa: S608
    bindparam("ids", expanding=True)
)
_TRY = text("SELECT pg_try_advisory_xact_lock(hashtextextended('mgmt seals', 0))")


class Audit:
    """The chain of seals over finished operations."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hasher = Hasher(database)

    def seal(self) -> int:
        """Seal all operations that have finished since the last seal; return their number.

        On PostgreSQL it does not wait for another process that is sealing, and returns 0.
        """
        return self._seal_all() if self._has_unsealed() else 0

    def try_seal(self) -> None:
        """Seal what has finished, and ignore a catalog error: the next command seals what this one could not."""
        try:
            self._seal_all()
        except CatalogError as error:
            logger.info("finished operations are not sealed yet: %s", error)

    def close(self) -> None:
        """Seal the operations that have finished here, if there are any."""
        if self._hasher.has_hashed:
            self.try_seal()

    def head(self) -> Seal | None:
        """The last seal; None if there is none."""
        with self._database.reading() as session:
            return last_seal(session.connection())

    def verification(self, anchors: "Iterable[Anchor]" = ()) -> "Verification":
        """A verification of the history against its seals, and of those against `anchors` from outside."""
        from mgmt.catalog.audit.verification import Verification

        return Verification(self._database, anchors)

    def _seal_all(self) -> int:
        total = count = self._seal_batch()
        while count == BATCH:
            total += (count := self._seal_batch())
        return total

    def _has_unsealed(self) -> bool:
        with self._database.reading() as session:
            return session.execute(_ANY_UNSEALED).first() is not None

    def _seal_batch(self) -> int:
        with self._database.transaction() as session:
            if not self._database.is_sqlite and not session.scalar(_TRY):
                return 0
            rows = session.execute(_NEXT, {"limit": BATCH}).all()
            if rows:
                listed = [(seq, operation_id, digest.hex()) for seq, operation_id, digest in rows]
                sequence = _append(session, dumps(listed))
                ids = [operation_id for _, operation_id, _ in listed]
                marked: Any = session.execute(_MARK, {"seal": sequence, "ids": ids})
                if marked.rowcount != len(ids):
                    raise CatalogError(
                        f"this login may not seal operations in the catalog {self._database.name}",
                        next_step="mgmt db roles --apply\n# as its owner",
                    )
            return len(rows)


def _append(session: Session, operations: str) -> int:
    head = last_seal(session.connection())
    # The triggers accept no other digest than the one that is stored, even of an edited seal.
    previous = None if head is None else cast("bytes", head.digest)
    seal = SealRecord(
        sequence=1 if head is None else head.sequence + 1,
        operations=operations,
        previous=previous,
        digest=b"",
        sealed_at=now(),
    )
    seal.digest = digest_of(seal.sequence, plain_time(seal.sealed_at), seal.operations, seal.previous)
    session.add(seal)
    session.flush()
    session.expunge(seal)
    return seal.sequence
