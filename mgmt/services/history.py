"""Anchors: the head of the history's chain, written down in the store, where the catalog cannot reach it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mgmt.catalog import Anchor, Catalog
from mgmt.errors import CatalogError, NotFoundError
from mgmt.storage import ObjectStore

_NAME = re.compile(r"(\d{1,18})-([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """What was written down, and where."""

    type: str = "anchor"
    sequence: int
    digest: str
    location: str
    locked_until: datetime | None
    """Until then the store itself lets nobody remove it; None where it does not say so."""


def anchor(store: ObjectStore, catalog: Catalog) -> Anchored:
    """Seal what has ended, and write the last seal's digest into `store`, never over another one.

    Raises NotFoundError when nothing has ended yet, CatalogError when the last seal is not sound.
    """
    catalog.audit.seal()
    head = catalog.audit.head()
    if head is None:
        raise NotFoundError("there is nothing to anchor: no operation has ended yet", next_step="mgmt upload TARGET")
    if head.digest != head.expected_digest:
        raise CatalogError(f"seal {head.sequence} was edited: it is not anchored", next_step="mgmt audit verify")
    digest = head.expected_digest.hex()
    said = {"digest": digest, "format": 1, "sealed_at": head.sealed_at, "sequence": head.sequence}
    stored = store.anchor(f"{head.sequence:010d}-{digest}", json.dumps(said, sort_keys=True).encode() + b"\n")
    return Anchored(
        sequence=head.sequence,
        digest=digest,
        location=store.location(stored.key),
        locked_until=stored.locked_until,
    )


def anchors_in(store: ObjectStore) -> Iterator[Anchor]:
    """What was anchored in `store`."""
    for name in store.anchors():
        if (said := _NAME.fullmatch(name)) is not None:
            yield Anchor(int(said[1]), said[2])
