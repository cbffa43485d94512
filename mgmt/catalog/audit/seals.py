"""Seals: each lists finished operations, and contains the digest of the previous seal.

Whoever changes an operation must change its seal and every later one, and anchors outside the catalog reveal that. The
list of a seal is JSON text, `[[seq, id, sha256], ...]`, so that it still names operations that were removed.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, Row, TextClause, text

from mgmt.catalog.audit.canonical import FORMAT, bytes_of, columns_of, dumps, plain_row
from mgmt.catalog.records.seal import SealRecord


class SealedOperation(NamedTuple):
    """An operation as listed in a seal."""

    seq: int
    operation_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Seal:
    """A row of the chain. A tampered column may be None or of another type; then the digest does not match."""

    sequence: int
    sealed_at: object
    operations: object
    previous: object
    digest: object

    @property
    def expected_digest(self) -> bytes:
        """The expected value of `digest`."""
        return digest_of(self.sequence, self.sealed_at, self.operations, self.previous)

    def listed(self) -> list[SealedOperation]:
        """The listed operations; empty if the list cannot be parsed."""
        try:
            return [
                SealedOperation(int(seq), str(id_), str(digest))
                for seq, id_, digest in json.loads(str(self.operations))
            ]
        except (ValueError, TypeError):
            return []


def digest_of(sequence: int, sealed_at: object, operations: object, previous: object) -> bytes:
    """The sha256 of a seal. `sealed_at` is a time as in canonical.py, `operations` the text of the list."""
    before = previous.hex() if isinstance(previous, bytes) else previous
    content = {"format": FORMAT, "operations": operations, "previous": before, "sealed_at": sealed_at}
    return sha256(dumps({**content, "sequence": sequence}).encode()).digest()


def seals(connection: Connection, after: int, limit: int) -> list[Seal]:
    """Up to `limit` seals in order, starting after number `after`."""
    return [_seal(row) for row in connection.execute(_NEXT, {"after": after, "limit": limit})]


def last_seal(connection: Connection) -> Seal | None:
    """The last seal of the chain; None if there is none."""
    row = connection.execute(_LAST).first()
    return None if row is None else _seal(row)


def _seal(row: Row[object]) -> Seal:
    facts = plain_row(_TABLE, row)
    return Seal(
        sequence=facts["sequence"],
        sealed_at=facts.get("sealed_at"),
        operations=facts.get("operations"),
        previous=bytes_of(facts.get("previous")),
        digest=bytes_of(facts.get("digest")),
    )


_TABLE = SealRecord.metadata.tables["seals"]
_SELECT = f"SELECT {columns_of(_TABLE, 's')} FROM seals s"  # noqa: S608
_NEXT: TextClause = text(f"{_SELECT} WHERE s.sequence > :after ORDER BY s.sequence LIMIT :limit")
_LAST: TextClause = text(f"{_SELECT} ORDER BY s.sequence DESC LIMIT 1")
