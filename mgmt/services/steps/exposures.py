"""Which archives need attention: those with no second copy, not verified for long, or with something that ends soon."""

from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import nsmallest

from mgmt.catalog import Catalog, Few, Listed
from mgmt.services.steps.figures import Archive, Exposure

FIRST = 20
"""Archives that are listed of each kind."""

UNVERIFIED_DAYS = 90
"""After how many days without a verification an archive is listed, unless the user says so."""

EXPIRING = timedelta(days=30)
"""How early a report lists what ends."""


def single_copy(catalog: Catalog) -> Exposure:
    """Archives beside which no other proven copy of their content is known."""
    return _exposure(catalog.figures.single_copies(FIRST), lambda _: "no other proven copy is known")


def unverified(catalog: Catalog, days: int, now: datetime) -> Exposure:
    """Archives that were not verified within so many days."""
    found = catalog.figures.unverified(now - timedelta(days=days), FIRST)
    return _exposure(found, lambda each: "never verified" if each.at is None else f"last verified {each.at:%Y-%m-%d}")


def expiring(catalog: Catalog, now: datetime) -> Exposure:
    """Restored copies and locks that end within `EXPIRING`; an archive may be listed for both."""
    until = now + EXPIRING
    restores = catalog.figures.refreezing(now, until, FIRST)
    locks = catalog.figures.unlocking(now, until, FIRST)
    first = nsmallest(FIRST, (*restores.first, *locks.first), key=lambda each: each.at or now)
    both = Few(restores.archives + locks.archives, restores.size + locks.size, first)
    return _exposure(both, _what_ends)


def _what_ends(each: Listed) -> str:
    what = "the restored copy is gone" if each.what == "restore" else "the lock ends"
    return f"{what} on {each.at:%Y-%m-%d}"


def _exposure(found: Few, note: Callable[[Listed], str]) -> Exposure:
    listed = [
        Archive(name=each.name, key=each.key, store=each.store, size=each.size, on=each.at, note=note(each))
        for each in found.first
    ]
    return Exposure(archives=found.archives, size=found.size, first=tuple(listed))
