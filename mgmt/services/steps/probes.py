"""What a probe of an endpoint leaves in a store when it is killed: an upload of four bytes that nobody will finish."""

from datetime import timedelta

from mgmt.storage import PROBE, ObjectStore, PendingUpload

OLD = timedelta(hours=1)
"""A probe takes seconds: one that began longer ago, both times being the store's own, has no process any more."""


def abandoned_probes(store: ObjectStore) -> list[PendingUpload]:
    """The probes in `store` that nobody will end. Raises what the store raises."""
    found = list(store.pending(PROBE))
    there = store.clock() if found else None
    if there is None:
        return []
    return [each for each in found if each.started_at is not None and there - each.started_at >= OLD]
