"""Which archives need attention: those with no second copy, not verified for long, or with something that ends soon."""

from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import nsmallest

from mgmt.catalog.files.figures import Few, Figures, Limits, Listed, Survey
from mgmt.services.steps.figures import Archive, Exposure

FIRST = 20
"""Archives that are listed of each kind."""

EXPIRING = timedelta(days=30)
"""How early a report lists what ends."""


def limits(days: int, now: datetime) -> Limits:
    """What is unverified, and what ends soon."""
    return Limits(now - timedelta(days=days), now, now + EXPIRING)


def single_copy(figures: Figures) -> Exposure:
    """Archives beside which no other proven copy of their content is known."""
    found = figures.single_copies(FIRST)
    return _exposure(found, lambda each: f"archived {each.at:%Y-%m-%d}, no other proven copy is known")


def unverified(figures: Figures, survey: Survey, within: Limits) -> Exposure:
    """Archives that were not verified within so many days."""
    archives, size = survey.unverified
    first = figures.unverified(within.verified, FIRST) if archives else []
    return _exposure(
        Few(archives, size, first),
        lambda each: "never verified" if each.at is None else f"last verified {each.at:%Y-%m-%d}",
    )


def expiring(figures: Figures, survey: Survey, within: Limits) -> Exposure:
    """Restored copies and locks that end within `EXPIRING`; an archive with both counts twice."""
    restores = figures.refreezing(within, FIRST)
    archives, size = survey.unlocking
    locks = Few(archives, size, figures.unlocking(within, FIRST) if archives else [])
    ends = (
        _exposure(restores, lambda each: f"the restored copy is gone on {each.at:%Y-%m-%d}"),
        _exposure(locks, lambda each: f"the lock ends on {each.at:%Y-%m-%d}"),
    )
    first = nsmallest(FIRST, (each for one in ends for each in one.first), key=lambda each: each.on or within.now)
    return Exposure(archives=sum(one.archives for one in ends), size=sum(one.size for one in ends), first=tuple(first))


def _exposure(found: Few, note: Callable[[Listed], str]) -> Exposure:
    listed = [
        Archive(name=each.name, key=each.key, store=each.store, size=each.size, on=each.at, note=note(each))
        for each in found.first
    ]
    return Exposure(archives=found.archives, size=found.size, first=tuple(listed))
