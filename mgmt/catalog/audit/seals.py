"""The chain: each seal lists operations that have ended, and carries the digest of the seal before.

Who changes an operation must change its seal, and then every seal after that, the last of which is known elsewhere
(anchors). A seal's list is JSON text, `[[number, id, sha256], ...]`, so that it can name what is gone.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, Row, TextClause, text

from mgmt.catalog.audit.canonical import FORMAT, bytes_of, columns_of, dumps, plain_row
from mgmt.catalog.records.seal import SealRecord


class Sealed(NamedTuple):
    """An operation, as a seal lists it."""

    seq: int
    operation_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Seal:
    """A row of the chain; what somebody has spoilt in it is None, or makes its digest another one."""

    sequence: int
    sealed_at: object
    operations: object
    previous: object
    digest: object

    @property
    def right_digest(self) -> bytes:
        """What `digest` must be."""
        return digest_of(self.sequence, self.sealed_at, self.operations, self.previous)

    def listed(self) -> list[Sealed]:
        """The operations; empty when the list cannot be read."""
        try:
            return [Sealed(int(seq), str(id_), str(digest)) for seq, id_, digest in json.loads(str(self.operations))]
        except (ValueError, TypeError):
            return []


def digest_of(sequence: int, sealed_at: object, operations: object, previous: object) -> bytes:
    """The sha256 of a seal. `sealed_at` is a plain time, `operations` the text of the list."""
    before = previous.hex() if isinstance(previous, bytes) else previous
    said = {"format": FORMAT, "operations": operations, "previous": before, "sealed_at": sealed_at}
    return sha256(dumps({**said, "sequence": sequence}).encode()).digest()


def seals(connection: Connection, after: int, limit: int) -> list[Seal]:
    """Seals by number, from the one after `after` on."""
    return [_seal(row) for row in connection.execute(_NEXT, {"after": after, "limit": limit})]


def last_seal(connection: Connection) -> Seal | None:
    """The head of the chain."""
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
