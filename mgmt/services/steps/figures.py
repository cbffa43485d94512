"""Figures of the catalog: what the report, its page and the metrics show. Sizes are in bytes, times are aware UTC."""

from dataclasses import dataclass, field
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The stored archives of one group."""

    group: str | None
    """None: the archives in no group."""
    archives: int
    size: int
    """In the store."""
    original_size: int
    """Before compression, of those archives whose original size is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What was archived in a month and is still stored, and the operations that started in it."""

    month: str
    """As "2026-11", in UTC."""
    archives: int
    size: int
    original_size: int
    operations: dict[str, dict[str, int]] = field(default_factory=dict)
    """Their number, by type and status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The operations of one type."""

    operation_type: str
    statuses: dict[str, int]
    """Their number, by status."""
    median_seconds: float | None
    """Of those that have succeeded; None if none has."""
    p95_seconds: float | None
    bytes: int
    bytes_per_second: float | None
    """Bytes of the operations that have succeeded by the time that those took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A cause by which operations of one type have failed."""

    operation_type: str
    cause: str
    operations: int
    last_at: datetime
    last_operation: str
    """The operation id: `mgmt status` of it says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive in a list of the report, or a copy in completed/."""

    name: str
    key: str
    """Of a copy, its path."""
    store: str | None
    """None: it is a copy."""
    size: int
    on: datetime | None
    """The time that the list is about: when it was archived, verified last or found damaged, when something ends."""
    note: str
    """Why it is listed."""
    safety: str
    """Whether it is safe, why, and what to do, in one sentence: that of `mgmt ls -l` and `mgmt status`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Archives, or copies, that are at risk for one reason."""

    archives: int
    size: int
    first: tuple[Archive, ...] = ()
    """The first twenty, by how long they have waited, or by what ends first; `archives` counts all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How fast the stores grow, and when that ends. An estimate: the mean of the last complete months."""

    bytes_per_month: int | None
    """None: there is no complete month yet."""
    free: int | None
    """On the disks of the stores that are directories; None if there is none."""
    full_on: date | None
    monthly: float | None
    """What the archives cost a month, in `currency`; None if a price is not known."""
    currency: str | None
    budget: float | None
    """A month, by the setting `budget`."""
    budget_reached_on: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures of a period, and of the stored archives as they are now."""

    made_at: datetime
    since: datetime | None
    until: datetime | None
    total: Volume
    months: tuple[Month, ...]
    """In order, without gaps."""
    groups: dict[str, tuple[Volume, ...]]
    """The stored archives by class, store, folder, user, host, and by each tag that was asked for (`tag:KEY`). The
    largest first; those past the twentieth are summed up as "(others)"."""
    activity: tuple[Activity, ...]
    failures: tuple[Failure, ...]
    """The twenty most frequent, the first of them first; `activity` counts all that failed."""
    undone: tuple[Failure, ...]
    """Of the last `LATELY_DAYS`, the causes of what failed, can be retried, and was not done or tried again since."""
    damaged: Exposure
    """Archives that the last verification found damaged, changed or missing, until they are proven or deleted."""
    unarchived: Exposure
    """Copies in completed/ of which no archive is stored any more: they are what is left."""
    single_copy: Exposure
    """Archives beside which no other proven copy is known, in completed/ or in a store: as after `mgmt free`."""
    unverified: Exposure
    """Archives that were not verified for so many days."""
    unverified_days: int
    expiring: Exposure
    """Restored copies and locks that end within 30 days."""
    growth: Growth
