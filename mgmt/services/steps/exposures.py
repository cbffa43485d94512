"""Which archives are at risk: damaged, deleted beside a copy, without a second copy, unverified, or soon to expire."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter

from mgmt.catalog import Catalog
from mgmt.catalog.files.exposed import Exposed, Limits, Listed
from mgmt.catalog.files.figures import Survey
from mgmt.services.steps.figures import Archive, Exposure

FIRST = 20
"""Archives that are listed of each kind."""

EXPIRING = timedelta(days=30)
"""How early a report lists what ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposures:
    """The archives and copies that are at risk, by why they are."""

    damaged: Exposure
    unarchived: Exposure
    """Copies in completed/ of which no archive is stored any more."""
    single_copy: Exposure
    """No other proven copy of their content is known, as safety.py counts copies."""
    unverified: Exposure
    expiring: Exposure
    """Restored copies and locks end within `EXPIRING`; an archive with both counts twice."""


def limits(days: int, now: datetime) -> Limits:
    """What is unverified, and what ends soon."""
    return Limits(now - timedelta(days=days), now, now + EXPIRING)


def exposures(catalog: Catalog, survey: Survey, within: Limits) -> Exposures:
    """The archives and copies that are at risk, and of the first of them whether they are safe."""
    exposed = Exposed(catalog.database)
    damaged, unarchived = exposed.damaged(FIRST), exposed.unarchived(FIRST)
    alone, restores = exposed.alone(FIRST), exposed.refreezing(within, FIRST)
    old = exposed.unverified(within.verified, FIRST) if survey.unverified[0] else []
    locks = exposed.unlocking(within, FIRST) if survey.unlocking[0] else []
    ends = chain(_noted(restores.first, "the restored copy is gone on {}"), _noted(locks, "the lock ends on {}"))
    lists = (
        list(_noted(damaged.first, "found damaged or missing on {}")),
        list(_noted(unarchived.first, "archived {}")),
        list(_noted(alone.first, "archived {}")),
        list(_noted(old, "last verified {}")),
        sorted(ends, key=lambda each: each[0].at or within.now)[:FIRST],
    )
    safety = _safety({each.id for each in map(itemgetter(0), chain(*lists))}, catalog, within.now)
    shown = [tuple(_archive(*each, safety) for each in one) for one in lists]
    number, size = (sum(each) for each in zip((restores.archives, restores.size), survey.unlocking, strict=True))
    return Exposures(
        damaged=Exposure(archives=damaged.archives, size=damaged.size, first=shown[0]),
        unarchived=Exposure(archives=unarchived.archives, size=unarchived.size, first=shown[1]),
        single_copy=Exposure(archives=alone.archives, size=alone.size, first=shown[2]),
        unverified=Exposure(archives=survey.unverified[0], size=survey.unverified[1], first=shown[3]),
        expiring=Exposure(archives=number, size=size, first=shown[4]),
    )


def _noted(listed: Iterable[Listed], note: str) -> Iterator[tuple[Listed, str]]:
    for each in listed:
        yield each, "never verified" if each.at is None else note.format(f"{each.at:%Y-%m-%d}")


def _archive(each: Listed, note: str, safety: dict[int, str]) -> Archive:
    return Archive(
        name=each.name,
        key=each.key,
        store=each.store,
        size=each.size,
        on=each.at,
        note=note,
        safety=safety.get(each.id, ""),
    )


def _safety(archives: set[int], catalog: Catalog, now: datetime) -> dict[int, str]:
    if not archives:
        return {}
    from mgmt.services.steps.safety import safeties_of  # it imports what reads archives and stores

    return {number: each.sentence for number, each in safeties_of(archives, catalog, now=now).items()}
