"""Whether the history is what was sealed: each operation against its seal, each seal against the next, the last ones
against anchors. Memory is bounded by what some hundreds of operations take."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection

from mgmt.catalog.audit.canonical import CHUNK, Said, said, said_in_pages
from mgmt.catalog.audit.ranges import Numbers
from mgmt.catalog.audit.seals import Seal, Sealed, seals
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import LIVE, Status
from mgmt.catalog.records.maintenance import PRUNE

SEALS = 50
"""Seals that are read together: each may list a thousand operations."""

_LOWEST = -(1 << 62)
"""Below every number that there can be."""


class Tampering(StrEnum):
    """What was done to the history."""

    EDITED = "edited"
    REMOVED = "removed"
    INSERTED = "inserted"
    MOVED = "moved"


class Anchor(NamedTuple):
    """A seal, as it was written down outside of the catalog."""

    sequence: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it was sealed. Without `operation_id` it is the seal itself."""

    type: str = "tampering"
    problem: Tampering
    operation_id: str | None = None
    seq: int | None = None
    seal: int | None = None
    detail: str


class Verification:
    """Goes through the history once, at one moment of it. The counts are those of what `findings` has seen."""

    def __init__(self, database: Database, anchors: Iterable[Anchor]) -> None:
        self._database = database
        self._anchors: dict[int, set[str]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.sequence, set()).add(anchor.digest)
        self.anchors = sum(map(len, self._anchors.values()))
        self.operations = self.seals = self.unsealed = self.live = self.pruned = 0
        self._prunes: list[Numbers] = []
        self.head: Seal | None = None

    def findings(self) -> Iterator[Finding]:
        """All that was edited, removed, inserted or moved."""
        with self._database.snapshot() as connection:
            yield from self.findings_of(connection)

    def findings_of(self, connection: Connection) -> Iterator[Finding]:
        """The same of what `connection` sees, in a transaction of the caller's."""
        self._prunes = list(_prunes(connection))
        for group in self._groups(connection):
            yield from self._chain(connection, group)
            yield from self._sealed(connection, group)
        yield from self._beyond(connection)
        yield from self._not_sealed(connection)

    def _groups(self, connection: Connection) -> Iterator[list[Seal]]:
        """Seals that together list as many operations as are looked at together, or somewhat more."""
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

    def _chain(self, connection: Connection, group: list[Seal]) -> Iterator[Finding]:
        for seal in group:
            before, self.head = self.head, seal
            self.seals += 1
            number, expected = seal.sequence, before.sequence + 1 if before else 1
            if number > expected:
                yield from self._gone(connection, expected, number - 1)
            elif number < expected:  # the numbers begin with 1
                yield _of_seal(Tampering.INSERTED, number, f"there can be no seal {number}")
            if seal.digest != seal.right_digest:
                yield _of_seal(Tampering.EDITED, number, "it is not what its digest is of")
            if number == expected and seal.previous != (before.digest if before else None):
                at = before.sequence if before else number
                yield _of_seal(Tampering.EDITED, at, f"seal {number} remembers another digest of the seal before it")
            kept = self._anchors.pop(number, None)
            if kept is not None and kept != {seal.right_digest.hex()}:
                yield _of_seal(Tampering.EDITED, number, "an anchor in the store says that it was another one")

    def _gone(self, connection: Connection, first: int, last: int) -> Iterator[Finding]:
        names = f"seal {first} is" if first == last else f"seals {first} to {last} are"
        yield _of_seal(Tampering.REMOVED, first, f"{names} gone")
        for each in said_in_pages(connection, "o.seal BETWEEN :first AND :last", {"first": first, "last": last}):
            yield _lost(each)

    def _sealed(self, connection: Connection, group: list[Seal]) -> Iterator[Finding]:
        inside = {"first": group[0].sequence, "last": group[-1].sequence}
        numbers = {seal.sequence for seal in group}
        rows = {each.operation_id: each for each in said(connection, "o.seal BETWEEN :first AND :last", inside)}
        for seal in group:
            for listed in seal.listed():
                self.operations += 1
                row = rows.pop(listed.operation_id, None)
                if row is None and any(listed.seq in each for each in self._prunes):
                    self.pruned += 1
                    continue
                if row is None:
                    row = next(said(connection, "o.operation_id = :id", {"id": listed.operation_id}), None)
                if (finding := _compared(listed, seal, row)) is not None:
                    yield finding
        for row in rows.values():
            if row.seal in numbers:  # those of seals that are gone are named already
                yield _of(Tampering.INSERTED, row, f"seal {row.seal} does not list it")

    def _beyond(self, connection: Connection) -> Iterator[Finding]:
        """What is known of seals that are not there: of operations that name them, and of anchors."""
        last = self.head.sequence if self.head else 0
        for each in said_in_pages(connection, "(o.seal > :last OR o.seal < 1)", {"last": last}):
            yield _lost(each)
        for number in sorted(self._anchors):
            yield _of_seal(
                Tampering.REMOVED, number, f"an anchor in the store knows seal {number}: the last one here is {last}"
            )

    def _not_sealed(self, connection: Connection) -> Iterator[Finding]:
        for each in said_in_pages(connection, "o.seal IS NULL", {}):
            if each.sha256 is None:
                if each.status in LIVE:
                    self.live += 1
                else:
                    yield _of(Tampering.INSERTED, each, "it has ended, and mgmt has not ended it")
            else:
                self.unsealed += 1
                if each.sha256 != each.digest:
                    yield _of(Tampering.EDITED, each, "it is not what was recorded when it ended")


def _prunes(connection: Connection) -> Iterator[Numbers]:
    """What was removed on record, by prunes that are as they were when they ended."""
    for each in said_in_pages(connection, f"o.operation_type = '{PRUNE}'", {}):
        if each.sha256 == each.digest and each.status == Status.SUCCESS and _is_as_sealed(connection, each):
            yield Numbers.parse(str(json.loads(each.text).get("prunes", {}).get("removed", "")))


def _is_as_sealed(connection: Connection, row: Said) -> bool:
    """Whether its seal lists what it is; also of what names no seal yet."""
    if row.seal is None:
        return True
    if not isinstance(row.seal, int):
        return False
    return any(
        listed.operation_id == row.operation_id and _compared(listed, seal, row) is None
        for seal in seals(connection, row.seal - 1, 1)
        for listed in seal.listed()
    )


def _compared(listed: Sealed, seal: Seal, row: Said | None) -> Finding | None:
    if row is None:
        return Finding(
            problem=Tampering.REMOVED,
            operation_id=listed.operation_id,
            seq=listed.seq,
            seal=seal.sequence,
            detail=f"it was number {listed.seq}",
        )
    if row.seq != listed.seq:
        return _of(Tampering.MOVED, row, f"it was number {listed.seq}, and is number {row.seq}", seal)
    if row.digest.hex() != listed.sha256:
        return _of(Tampering.EDITED, row, "it is not what was recorded when it ended", seal)
    if row.sha256 != row.digest:
        return _of(Tampering.EDITED, row, "its sha256 was changed", seal)
    if row.seal != seal.sequence:
        return _of(Tampering.MOVED, row, f"seal {seal.sequence} lists it, and it names seal {row.seal}", seal)
    return None


def _lost(row: Said) -> Finding:
    return _of(Tampering.REMOVED, row, f"it names seal {row.seal}, which is gone")


def _of(problem: Tampering, row: Said, detail: str, seal: Seal | None = None) -> Finding:
    number = seal.sequence if seal is not None else row.seal if isinstance(row.seal, int) else None
    return Finding(problem=problem, operation_id=row.operation_id, seq=row.seq, seal=number, detail=detail)


def _of_seal(problem: Tampering, number: int, detail: str) -> Finding:
    return Finding(problem=problem, seal=number, detail=detail)
