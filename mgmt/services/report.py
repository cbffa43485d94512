"""The report: what is stored and what was done, in figures, from the catalog alone."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mgmt.catalog import Catalog
from mgmt.catalog.db.durations import Took
from mgmt.catalog.files.figures import GROUPS, Figures, Sum, with_others
from mgmt.catalog.operations.figures import Activity as Operations
from mgmt.catalog.operations.figures import Count
from mgmt.choices import LATELY_DAYS, UNVERIFIED_DAYS
from mgmt.errors import ConfigurationError
from mgmt.prices import MINIMUM_SIZE, Prices
from mgmt.services.steps.causes import failures, left_undone
from mgmt.services.steps.exposures import exposures, limits
from mgmt.services.steps.figures import Activity, Month, Report, Volume
from mgmt.services.steps.growth import growth

MOST = 20
"""Groups that are listed; what the others have is summed up."""

_MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a report is about."""

    since: datetime | None = None
    until: datetime | None = None
    """The operations that started before then, and the archives of that time."""
    by: Sequence[str] = ()
    """The tags to count by, as `tag:KEY`; the other groups are counted anyway."""
    days: int = UNVERIFIED_DAYS
    """After how many days without a verification an archive is listed."""
    now: datetime | None = None


def gather(
    catalog: Catalog, wanted: Wanted | None = None, table: Prices | None = None, budget: float | None = None
) -> Report:
    """All figures. Reads the catalog and the free space of disks, and changes nothing; no store is asked.

    With `table`, also what the archives cost, and when that is more than the `budget` a month. Raises
    ConfigurationError for a group that there is not, and CatalogError.
    """
    wanted = wanted or Wanted()
    for each in wanted.by:
        if each not in GROUPS and not (each.startswith("tag:") and each != "tag:"):
            raise ConfigurationError(f"cannot count by {each!r}", next_step=f"use one of {', '.join(GROUPS)}, tag:KEY")
    now = wanted.now or datetime.now(UTC)
    figures = Figures(catalog.database)
    operations = Operations(catalog.database, wanted.since, wanted.until)
    counts, lasted = operations.tally()
    within = limits(wanted.days, now)
    survey = figures.survey(within, MOST)
    exposed = exposures(catalog, survey, within)
    archived = survey.months
    if wanted.since is not None or wanted.until is not None:
        archived = figures.by_month(wanted.since, wanted.until)
    tags = [each for each in dict.fromkeys(wanted.by) if each.startswith("tag:")]
    by_tag = {name: figures.by_tag(name.removeprefix("tag:"), MOST) for name in tags}
    groups = survey.groups | {name: with_others(found, survey.whole) for name, found in by_tag.items()}
    shares = [] if table is None else catalog.usage.by("class", least=MINIMUM_SIZE)
    return Report(
        made_at=now,
        since=wanted.since,
        until=wanted.until,
        total=_volume(survey.whole),
        months=_months(archived, counts),
        groups={name: tuple(map(_volume, found)) for name, found in groups.items()},
        activity=_activity(counts, lasted, operations.sizes()),
        failures=failures(operations),
        undone=left_undone(catalog.database, now - timedelta(days=LATELY_DAYS)),
        damaged=exposed.damaged,
        unarchived=exposed.unarchived,
        single_copy=exposed.single_copy,
        unverified=exposed.unverified,
        unverified_days=wanted.days,
        expiring=exposed.expiring,
        growth=growth(survey, shares, table, budget, now),
    )


def _volume(found: Sum) -> Volume:
    return Volume(group=found.group, archives=found.archives, size=found.size, original_size=found.original_size)


def _activity(counts: Iterable[Count], lasted: Mapping[str, Took], sizes: Mapping[str, int]) -> tuple[Activity, ...]:
    statuses: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for _, kind, status, number in counts:
        statuses[kind][status] += number
    found = []
    for kind in sorted(statuses):
        took, size = lasted.get(kind), sizes.get(kind, 0)
        found.append(
            Activity(
                operation_type=kind,
                statuses=dict(statuses[kind]),
                median_seconds=None if took is None else took.median,
                p95_seconds=None if took is None else took.p95,
                bytes=size,
                bytes_per_second=size / took.total if took is not None and took.total and size else None,
            )
        )
    return tuple(found)


def _months(archived: Mapping[str, Sum], counts: Iterable[Count]) -> tuple[Month, ...]:
    """Every month from the first to the last in which something happened."""
    started: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for month, kind, status, number in counts:
        started[month][kind][status] = number
    known = [each for each in (*archived, *started) if _MONTH.fullmatch(each)]
    found = []
    for month in _from_to(min(known), max(known)) if known else ():
        volume = archived.get(month, Sum(month, 0, 0, 0))
        found.append(
            Month(
                month=month,
                archives=volume.archives,
                size=volume.size,
                original_size=volume.original_size,
                operations={kind: dict(statuses) for kind, statuses in sorted(started.get(month, {}).items())},
            )
        )
    return tuple(found)


def _from_to(first: str, last: str) -> Iterator[str]:
    """The months from `first` to `last`, both as "2026-11"."""
    year, month = map(int, first.split("-"))
    while (text := f"{year:04}-{month:02}") <= last:
        yield text
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
