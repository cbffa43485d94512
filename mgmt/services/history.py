"""The history of operations: list it, check it against its seals, and anchor it in the store.

An anchor is the digest of the last seal, written to the store: write access to the catalog is not enough to change it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mgmt.catalog import Catalog, OperationRecord, Status
from mgmt.errors import CatalogError, ConfigurationError, IntegrityError, NotFoundError

if TYPE_CHECKING:  # `mgmt log` needs no store, and verifies nothing
    from mgmt.catalog import Anchor, Finding, Statistic
    from mgmt.storage import ObjectStore

_NAME = re.compile(r"(\d{1,18})-([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which operations to list. A field that is None does not filter."""

    operation_type: str | None = None
    status: str | None = None
    user: str | None = None
    host: str | None = None
    target: str | None = None
    """A path, or a part of one."""
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = 50
    after: str | None = None
    """An operation id: only operations before it, which is the next page."""


def list_operations(wanted: Filter, catalog: Catalog) -> list[OperationRecord]:
    """The operations that match `wanted`, newest first. Raises NotFoundError if there is no operation `after`."""
    return catalog.metadata.list_operations(
        wanted.operation_type,
        Status(wanted.status) if wanted.status else None,
        wanted.since,
        wanted.until,
        wanted.limit,
        after=wanted.after,
        user=wanted.user,
        host=wanted.host,
        target=wanted.target,
    )


def statistics(wanted: Filter, catalog: Catalog) -> "list[Statistic]":
    """Figures of all operations that match `wanted`, by type. Raises ConfigurationError for a page of them."""
    if wanted.after is not None:
        raise ConfigurationError("--stats is of all operations that match, not of a page", next_step="mgmt log --stats")
    return catalog.statistics.by_type(
        wanted.operation_type,
        wanted.status,
        wanted.since,
        wanted.until,
        user=wanted.user,
        host=wanted.host,
        target=wanted.target,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last seal."""

    sequence: int
    digest: object
    """Bytes, unless the seal was edited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a check of the history has covered, and whether it is sound."""

    type: str = "history"
    catalog: str
    sound: bool
    operations: int
    seals: int
    pruned: int
    unsealed: int
    running: int
    anchors: int
    head: Head | None


class HistoryCheck:
    """One pass over the history: first `findings`, then `summary` and `error`, which cover what was read until then."""

    def __init__(self, catalog: Catalog, anchors: "Iterable[Anchor]") -> None:
        self._catalog = catalog
        self._verification = catalog.audit.verification(anchors)
        self._count = 0

    def findings(self) -> "Iterator[Finding]":
        """Yield every operation or seal that was edited, removed, inserted or moved, as it is found."""
        for finding in self._verification.findings():
            self._count += 1
            yield finding

    @property
    def summary(self) -> Summary:
        """The counts of the pass."""
        seen = self._verification
        return Summary(
            catalog=self._catalog.database.name,
            sound=not self._count,
            operations=seen.operations,
            seals=seen.seals,
            pruned=seen.pruned,
            unsealed=seen.unsealed,
            running=seen.live,
            anchors=seen.anchors,
            head=None if seen.head is None else Head(sequence=seen.head.sequence, digest=seen.head.digest),
        )

    @property
    def error(self) -> IntegrityError | None:
        """The error that stands for the findings; None when there are none."""
        if not self._count:
            return None
        count = f"{self._count} {'finding' if self._count == 1 else 'findings'}"
        return IntegrityError(
            f"the history in {self._catalog.database.name} does not match its seals: {count}",
            next_step="keep this catalog as evidence, and compare it with a backup",
        )


def check(catalog: Catalog, store: "ObjectStore | None") -> HistoryCheck:
    """Prepare a check of every finished operation against its seal, the chain of seals, and the anchors in `store`.

    Without a store, no anchors are compared. Changes nothing.
    """
    return HistoryCheck(catalog, () if store is None else anchors_in(store))


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """An anchor that was written, and where."""

    type: str = "anchor"
    sequence: int
    digest: str
    location: str
    locked_until: datetime | None
    """Until then the store itself refuses to delete it; None if the store does not say so."""


def anchor(store: "ObjectStore", catalog: Catalog, retain_until: datetime | None = None) -> Anchored:
    """Seal finished operations, and write the digest of the last seal to `store`; an anchor is never overwritten.

    With `retain_until`, the store is to keep it until then. May be called again: the same seal gives the same anchor.
    Raises NotFoundError when no operation has finished yet, CatalogError when the last seal does not match its digest,
    RefusedError when the store has no object lock.
    """
    from mgmt.services.steps.locks import resolved, strengthen
    from mgmt.storage import Lock

    lock = None if retain_until is None else resolved(Lock(until=retain_until), store)
    catalog.audit.seal()
    head = catalog.audit.head()
    if head is None:
        raise NotFoundError("nothing to anchor: no operation has finished yet", next_step="mgmt upload TARGET")
    if head.digest != head.expected_digest:
        raise CatalogError(f"seal {head.sequence} was edited and is not anchored", next_step="mgmt audit verify")
    digest = head.expected_digest.hex()
    content = {"digest": digest, "format": 1, "sealed_at": head.sealed_at, "sequence": head.sequence}
    stored = store.anchor(
        f"{head.sequence:010d}-{digest}", json.dumps(content, sort_keys=True).encode() + b"\n", lock=lock
    )
    if lock is not None:  # it may be there already, locked for a shorter time
        stored = strengthen(store, stored, lock)
    return Anchored(
        sequence=head.sequence,
        digest=digest,
        location=store.location(stored.key),
        locked_until=stored.locked_until,
    )


def anchors_in(store: "ObjectStore") -> "Iterator[Anchor]":
    """Yield the anchors in `store`; objects with other names are ignored."""
    from mgmt.catalog import Anchor

    for name in store.anchors():
        if (match := _NAME.fullmatch(name)) is not None:
            yield Anchor(int(match[1]), match[2])
