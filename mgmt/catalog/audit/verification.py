"""Verification of the history: operations against seals, each seal against the next, and seals against anchors.

Memory use is bounded: a few thousand operations are loaded at a time.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection

from mgmt.catalog.audit.canonical import CHUNK, CanonicalRow, canonical_pages, canonical_rows
from mgmt.catalog.audit.ranges import RangeSet
from mgmt.catalog.audit.seals import Seal, SealedOperation, seals
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.maintenance import PRUNE

SEALS = 50
"""Seals that are loaded together; each may list a thousand operations."""

_LOWEST = -(1 << 62)
"""Less than any number of a seal."""

_CHANGED = "it was changed after it finished"


class Tampering(StrEnum):
    """How the history was tampered with."""

    EDITED = "edited"
    REMOVED = "removed"
    INSERTED = "inserted"
    MOVED = "moved"


class Anchor(NamedTuple):
    """The digest of a seal, kept outside the catalog."""

    sequence: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A difference from what was sealed. Without `operation_id` it concerns the seal itself."""

    type: str = "tampering"
    problem: Tampering
    operation_id: str | None = None
    seq: int | None = None
    seal: int | None = None
    detail: str


class Verification:
    """Verifies the whole history in one pass over a snapshot. The counts cover what `findings` has yielded so far."""

    def __init__(self, database: Database, anchors: Iterable[Anchor]) -> None:
        self._database = database
        self._anchors: dict[int, set[str]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.sequence, set()).add(anchor.digest)
        self.anchors = sum(map(len, self._anchors.values()))
        self.operations = self.seals = self.unsealed = self.live = self.pruned = 0
        self._prunes: list[RangeSet] = []
        self.head: Seal | None = None

    def findings(self) -> Iterator[Finding]:
        """Everything that was edited, removed, inserted or moved."""
        with self._database.snapshot() as connection:
            yield from self.findings_in(connection)

    def findings_in(self, connection: Connection) -> Iterator[Finding]:
        """Like `findings`, in the caller's transaction on `connection`."""
        self._prunes = list(_prunes(connection))
        for group in self._groups(connection):
            yield from self._check_chain(connection, group)
            yield from self._check_sealed(connection, group)
        yield from self._check_beyond(connection)
        yield from self._check_unsealed(connection)

    def _groups(self, connection: Connection) -> Iterator[list[Seal]]:
        """Groups of seals that together list about CHUNK operations."""
        group: list[Seal] = []
        count, after = 0, _LOWEST
        while page := seals(connection, after, SEALS):
            for seal in page:
                group.append(seal)
                count += len(seal.listed())
                if count >= CHUNK:
                    yield group
                    group, count = [], 0
            after = page[-1].sequence
        if group:
            yield group

    def _check_chain(self, connection: Connection, group: list[Seal]) -> Iterator[Finding]:
        for seal in group:
            before, self.head = self.head, seal
            self.seals += 1
            number, expected = seal.sequence, before.sequence + 1 if before else 1
            if number > expected:
                yield from self._missing_seals(connection, expected, number - 1)
            elif number < expected:  # numbers start at 1
                yield _of_seal(Tampering.INSERTED, number, f"invalid seal number {number}")
            if seal.digest != seal.expected_digest:
                yield _of_seal(Tampering.EDITED, number, "digest mismatch")
            if number == expected and seal.previous != (before.digest if before else None):
                at = before.sequence if before else number
                yield _of_seal(Tampering.EDITED, at, f"seal {number} has another digest for the seal before it")
            kept = self._anchors.pop(number, None)
            if kept is not None and kept != {seal.expected_digest.hex()}:
                yield _of_seal(Tampering.EDITED, number, "it does not match its anchor in the store")

    def _missing_seals(self, connection: Connection, first: int, last: int) -> Iterator[Finding]:
        names = f"seal {first} is" if first == last else f"seals {first} to {last} are"
        yield _of_seal(Tampering.REMOVED, first, f"{names} missing")
        for each in canonical_pages(connection, "o.seal BETWEEN :first AND :last", {"first": first, "last": last}):
            yield _in_missing_seal(each)

    def _check_sealed(self, connection: Connection, group: list[Seal]) -> Iterator[Finding]:
        inside = {"first": group[0].sequence, "last": group[-1].sequence}
        numbers = {seal.sequence for seal in group}
        rows = {
            each.operation_id: each for each in canonical_rows(connection, "o.seal BETWEEN :first AND :last", inside)
        }
        for seal in group:
            for listed in seal.listed():
                self.operations += 1
                row = rows.pop(listed.operation_id, None)
                if row is None and any(listed.seq in each for each in self._prunes):
                    self.pruned += 1
                    continue
                if row is None:
                    row = next(canonical_rows(connection, "o.operation_id = :id", {"id": listed.operation_id}), None)
                if (finding := _compare(listed, seal, row)) is not None:
                    yield finding
        for row in rows.values():
            if row.seal in numbers:  # operations of missing seals are reported already
                yield _of(Tampering.INSERTED, row, f"seal {row.seal} does not list it")

    def _check_beyond(self, connection: Connection) -> Iterator[Finding]:
        """Seals that are missing at the end of the chain, but named by operations or anchors."""
        last = self.head.sequence if self.head else 0
        for each in canonical_pages(connection, "(o.seal > :last OR o.seal < 1)", {"last": last}):
            yield _in_missing_seal(each)
        for number in sorted(self._anchors):
            yield _of_seal(
                Tampering.REMOVED, number, f"an anchor in the store names seal {number}; the last seal here is {last}"
            )

    def _check_unsealed(self, connection: Connection) -> Iterator[Finding]:
        for each in canonical_pages(connection, "o.seal IS NULL", {}):
            if each.sha256 is None:
                if each.status in LIVE:
                    self.live += 1
                else:
                    yield _of(Tampering.INSERTED, each, "finished, but has no hash from mgmt")
            else:
                self.unsealed += 1
                if each.sha256 != each.digest:
                    yield _of(Tampering.EDITED, each, _CHANGED)


def _prunes(connection: Connection) -> Iterator[RangeSet]:
    """The operations removed by prunes whose own records are intact."""
    for each in canonical_pages(connection, f"o.operation_type = '{PRUNE}'", {}):
        if each.sha256 == each.digest and each.status == Status.SUCCESS and _is_as_sealed(connection, each):
            yield RangeSet.parse(str(json.loads(each.text).get("prunes", {}).get("removed", "")))


def _is_as_sealed(connection: Connection, row: CanonicalRow) -> bool:
    """Whether its seal lists it unchanged; True if it is not sealed yet."""
    if row.seal is None:
        return True
    if not isinstance(row.seal, int):
        return False
    return any(
        listed.operation_id == row.operation_id and _compare(listed, seal, row) is None
        for seal in seals(connection, row.seal - 1, 1)
        for listed in seal.listed()
    )


def _compare(listed: SealedOperation, seal: Seal, row: CanonicalRow | None) -> Finding | None:
    if row is None:
        return Finding(
            problem=Tampering.REMOVED,
            operation_id=listed.operation_id,
            seq=listed.seq,
            seal=seal.sequence,
            detail=f"its seq was {listed.seq}",
        )
    if row.seq != listed.seq:
        return _of(Tampering.MOVED, row, f"its seq was {listed.seq}, and is now {row.seq}", seal)
    if row.digest.hex() != listed.sha256:
        return _of(Tampering.EDITED, row, _CHANGED, seal)
    if row.sha256 != row.digest:
        return _of(Tampering.EDITED, row, "its sha256 was changed", seal)
    if row.seal != seal.sequence:
        return _of(Tampering.MOVED, row, f"seal {seal.sequence} lists it, but it names seal {row.seal}", seal)
    return None


def _in_missing_seal(row: CanonicalRow) -> Finding:
    return _of(Tampering.REMOVED, row, f"it names seal {row.seal}, which is missing")


def _of(problem: Tampering, row: CanonicalRow, detail: str, seal: Seal | None = None) -> Finding:
    number = seal.sequence if seal is not None else row.seal if isinstance(row.seal, int) else None
    return Finding(problem=problem, operation_id=row.operation_id, seq=row.seq, seal=number, detail=detail)


def _of_seal(problem: Tampering, number: int, detail: str) -> Finding:
    return Finding(problem=problem, seal=number, detail=detail)
