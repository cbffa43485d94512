"""The archive of a film studio that does not exist: the same at each run, for screenshots and for tests of the page."""

import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from mgmt.catalog import PastOperation, Status, StoredArchive
from mgmt.choices import LATELY_DAYS
from mgmt.services.page import Listed, Period
from mgmt.services.steps.figures import Activity, Archive, Exposure, Failure, Growth, Month, Report, Volume

NOW = datetime(2026, 11, 28, 21, 40, tzinfo=UTC)
PRODUCTIONS = (
    "salt-harbour", "the-long-thaw", "nine-bridges", "paper-lanterns", "low-tide", "the-cartographer", "second-winter",
    "copper-road", "a-quiet-field", "midnight-ferry",
)  # fmt: skip
PARTS = ("camera-a", "camera-b", "sound", "vfx-plates", "stills", "dailies", "grade", "editorial", "drone")
STORES = ("s3://studio-archive/film", "s3://studio-archive-eu/film", "file:///mnt/vault/film")
USERS = ("mira", "jonas", "render", "ana")
HOSTS = ("ingest-1", "ingest-2", "edit-07")
ERRORS = (
    ("upload", "the store answers 503: SlowDown (reduce your request rate)", "the store answers N: SlowDown"),
    ("upload", "{target} changed while it was read", "… changed while it was read"),
    ("verify", "sha256 of block 118 is another than in the index", "sha256 of block N is another than in the index"),
    ("download", "no space left on /mnt/scratch: 1.2 TiB needed", "no space left on …: N TiB needed"),
)
KINDS = {"upload": 1.4, "verify": 3.2, "search": 4.0, "download": 0.7, "free": 0.8, "restore": 0.2, "tag": 0.4}
GiB = 1 << 30


def studio(months: int = 35) -> tuple[Report, Listed]:
    """Its report of so many months, and what the page lists."""
    chance = random.Random(1895)  # noqa: S311 - made up, on purpose
    periods = _periods(months)
    archives = [each for period in periods for each in _archives(chance, period)]
    operations = [_operations(chance, period, archives) for period in periods]
    done = [each for month in operations for each in month]
    report = Report(
        made_at=NOW,
        since=None,
        until=None,
        total=_volume(None, archives),
        months=tuple(
            _month(period, archives, month) for period, month in zip(periods, operations, strict=True)
        ),
        groups=_groups(chance, archives),
        activity=_activity(chance, done),
        failures=_failures(done),
        undone=_failures([each for each in done if (NOW - each.started_at).days < LATELY_DAYS]),
        damaged=_exposure([], ""),
        unarchived=_exposure([], ""),
        single_copy=_exposure(chance.sample(archives, min(61, len(archives) // 4)), "archived {archived:%Y-%m-%d}"),
        unverified=_exposure([each for each in archives if _is_old(each)], "last verified {proven:%Y-%m-%d}"),
        unverified_days=180,
        expiring=_exposure(archives[40:43], "the lock ends on 2026-12-14"),
        growth=Growth(
            bytes_per_month=412 * GiB, free=2900 * GiB, full_on=date(2027, 6, 24), monthly=148.20, currency="USD",
            budget=200.0, budget_reached_on=date(2027, 12, 2),
        ),
    )  # fmt: skip
    newest = sorted(archives, key=lambda each: each.archived_at, reverse=True)
    failed_first = [sorted(month, key=_failed_first)[:50] for month in operations]
    listed = Listed(archives=tuple(newest), periods=tuple(periods), operations=tuple(map(tuple, failed_first)))
    return report, listed


def _failed_first(each: PastOperation) -> tuple[bool, float]:
    return each.status not in (Status.FAILED, Status.PARTIAL), -each.started_at.timestamp()


def _periods(count: int) -> list[Period]:
    starts = [datetime(2024 + number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(count + 1)]
    return [Period(month=f"{since:%Y-%m}", since=since, until=until) for since, until in pairwise(starts)]


def _archives(chance: random.Random, period: Period) -> list[StoredArchive]:
    number = period.since.month + 12 * (period.since.year - 2024)
    shooting = 1.9 if number % 9 in (3, 4, 5) else 0.8
    count = int(chance.gauss(28 + number * 0.35, 6) * shooting**0.5)
    production = PRODUCTIONS[number // 4 % len(PRODUCTIONS)]
    found = []
    for _ in range(max(4, count)):
        at = period.since + (min(period.until, NOW) - period.since) * chance.random()
        part = chance.choice(PARTS)
        original = int(chance.lognormvariate(1.9, 0.9) * shooting * GiB)
        on = at - timedelta(days=chance.randint(0, 20))
        store = chance.choices(STORES, (7, 2, 2))[0]
        age = (NOW - at).days
        storage_class = chance.choices(
            ("STANDARD", "GLACIER_IR", "DEEP_ARCHIVE"), (1, 3, 1) if age < 200 else (0, 2, 8)
        )[0]
        proven = at if age < 170 else NOW - timedelta(days=chance.randint(1, 178))
        if age > 170 and chance.random() < 0.07:
            proven = at
        found.append(
            StoredArchive(
                key=f"{production}/{on:%Y-%m-%d}-{part}-r{chance.randint(1, 12):02}.tar.gz",
                store=store,
                storage_class=None if store.startswith("file") else storage_class,
                size=int(original * chance.uniform(0.71, 0.97)),
                original_size=original,
                archived_at=at,
                proven_at=proven,
                tags={"production": production, "reel": part},
            )
        )
    return sorted(found, key=lambda each: each.archived_at)


def _operations(chance: random.Random, period: Period, archives: Sequence[StoredArchive]) -> list[PastOperation]:
    here = [each for each in archives if period.since <= each.archived_at < period.until]
    found = []
    bad = {"2025-02": 0.09, "2026-08": 0.07, "2026-11": 0.03}.get(period.month, 0.008)
    for kind, factor in KINDS.items():
        for _ in range(int(len(here) * factor * chance.uniform(0.8, 1.2))):
            archive = chance.choice(here)
            at = period.since + (min(period.until, NOW) - period.since) * chance.random()
            status = chance.choices(
                (Status.SUCCESS, Status.FAILED, Status.PARTIAL, Status.CANCELLED), (1 - bad, bad, bad / 4, 0.004)
            )[0]
            errors = [text for each, text, _ in ERRORS if each == kind]
            if status == Status.FAILED and not errors:
                status = Status.SUCCESS
            target = f"/mnt/raid/{archive.key.removesuffix('.tar.gz')}"
            error = chance.choice(errors).format(target=target) if status == Status.FAILED else None
            if status == Status.PARTIAL:
                error = "3 sockets were left out"
            took = {"search": 0.2, "tag": 0.3}.get(kind, (archive.size or 0) / (180 << 20)) * chance.uniform(0.6, 1.9)
            found.append(
                PastOperation(
                    operation_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                    operation_type=kind,
                    status=status,
                    target=target,
                    started_at=at,
                    completed_at=at + timedelta(seconds=took),
                    error=error,
                )
            )
    return found


def _month(period: Period, archives: Sequence[StoredArchive], operations: Sequence[PastOperation]) -> Month:
    here = _volume(None, [each for each in archives if period.since <= each.archived_at < period.until])
    counts: dict[str, dict[str, int]] = defaultdict(Counter)
    for each in operations:
        counts[each.operation_type][each.status.value] += 1
    return Month(
        month=period.month,
        archives=here.archives,
        size=here.size,
        original_size=here.original_size,
        operations={kind: dict(statuses) for kind, statuses in counts.items()},
    )


def _volume(group: str | None, archives: Sequence[StoredArchive]) -> Volume:
    return Volume(
        group=group,
        archives=len(archives),
        size=sum(each.size or 0 for each in archives),
        original_size=sum(each.original_size or 0 for each in archives),
    )


def _groups(chance: random.Random, archives: Sequence[StoredArchive]) -> dict[str, tuple[Volume, ...]]:
    by: dict[str, Callable[[StoredArchive], str | None]] = {
        "class": lambda each: each.storage_class,
        "store": lambda each: each.store,
        "folder": lambda each: each.key.partition("/")[0],
        "user": lambda _: chance.choices(USERS, (5, 3, 8, 1))[0],
        "host": lambda _: chance.choices(HOSTS, (6, 4, 1))[0],
        "tag:reel": lambda each: each.tags["reel"],
    }
    groups = {}
    for name, value in by.items():
        found: dict[str | None, list[StoredArchive]] = defaultdict(list)
        for each in archives:
            found[value(each)].append(each)
        volumes = [_volume(group, members) for group, members in found.items()]
        groups[name] = tuple(sorted(volumes, key=lambda each: -each.size))
    return groups


def _activity(chance: random.Random, done: Sequence[PastOperation]) -> tuple[Activity, ...]:
    found = []
    for kind in sorted(KINDS):
        mine = [each for each in done if each.operation_type == kind]
        took = sorted((each.completed_at - each.started_at).total_seconds() for each in mine if each.completed_at)
        moved = int(sum(took) * (180 << 20)) if kind in ("upload", "download", "verify") else 0
        found.append(
            Activity(
                operation_type=kind,
                statuses=dict(Counter(each.status.value for each in mine)),
                median_seconds=took[len(took) // 2],
                p95_seconds=took[len(took) * 95 // 100],
                bytes=moved,
                bytes_per_second=moved / sum(took) if moved else None,
            )
        )
    return tuple(found)


def _failures(done: Sequence[PastOperation]) -> tuple[Failure, ...]:
    found = []
    for kind, text, cause in ERRORS:
        start = text.partition("{")[0] or None
        mine = [
            each
            for each in done
            if each.operation_type == kind
            and each.error
            and (each.error.startswith(start) if start else "changed" in each.error)
        ]
        if mine:
            last = max(mine, key=lambda each: each.started_at)
            found.append(
                Failure(
                    operation_type=kind,
                    cause=cause,
                    operations=len(mine),
                    last_at=last.started_at,
                    last_operation=last.operation_id,
                )
            )
    return tuple(sorted(found, key=lambda each: -each.operations))


def _is_old(each: StoredArchive) -> bool:
    return each.proven_at is not None and NOW - each.proven_at > timedelta(days=180)


def _safety(each: StoredArchive) -> str:
    verified = f"last verified on {each.proven_at:%Y-%m-%d}" if each.proven_at is not None else "never verified"
    return f"Safe: 1 proven copy ({each.store}), {verified}; the original was freed"


def _exposure(archives: Sequence[StoredArchive], note: str) -> Exposure:
    first = tuple(
        Archive(
            name=each.key.rpartition("/")[2],
            key=each.key,
            store=each.store,
            size=each.size or 0,
            on=each.proven_at,
            note=note.format(proven=each.proven_at, archived=each.archived_at),
            safety=_safety(each),
        )
        for each in sorted(archives, key=lambda each: each.archived_at)[:20]
    )
    return Exposure(archives=len(archives), size=sum(each.size or 0 for each in archives), first=first)
