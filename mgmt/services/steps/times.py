"""The times of a schedule: cron expressions, time zones, and what a change of clocks does to them.

Times are as Debian's cron has them. A time of day that a change of clocks leaves out runs at the moment of the change;
one that comes twice runs the first time. If the minute or the hour begins with `*`, the schedule follows the time that
passes instead: an hour that does not exist has no times, and one that comes twice has them twice.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from mgmt.errors import ConfigurationError

MOST_COUNTED = 1000
"""How many missed times are counted at most."""

_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Due:
    """The last time of a schedule that has passed, and how many before it were missed (at most `MOST_COUNTED`)."""

    time: datetime
    missed: int


def times(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The times after `after`, each once and in order, in the time zone of the schedule.

    Raises ConfigurationError if `cron` is not five fields of crontab(5), or names no time that ever comes, and if there
    is no such time zone.
    """
    before = after
    try:
        for each in _parsed(cron, after.astimezone(zone(timezone))):
            # Times that the change of clocks leaves out all become that of the change, and one may come again.
            if each.astimezone(UTC) > before:
                before = each.astimezone(UTC)
                yield each
    except (CronSimError, OverflowError) as exc:
        raise ConfigurationError(
            f"{cron!r} is not a schedule: {exc}", next_step='mgmt schedule add NAME "0 2 * * *" -- upload PATH'
        ) from exc


def _parsed(cron: str, after: datetime) -> CronSim:
    if len(cron.split()) != _FIELDS:
        raise CronSimError("there must be five fields: minute, hour, day of month, month, day of week")
    return CronSim(cron, after)


def next_times(cron: str, timezone: str, after: datetime, count: int) -> list[datetime]:
    """The next `count` times. Raises as `times` does, and if there is none within fifty years."""
    found = list(islice(times(cron, timezone, after), count))
    if not found:
        raise ConfigurationError(f"{cron!r} is not a schedule: none of its times ever comes")
    return found


def due(cron: str, timezone: str, after: datetime, now: datetime) -> Due | None:
    """The last time after `after` that is not after `now`, in UTC; None if there is none. Raises as `times` does."""
    last: datetime | None = None
    count = 0
    for each in times(cron, timezone, after):
        if (time := each.astimezone(UTC)) > now:
            break
        last, count = time, count + 1
        if count > MOST_COUNTED:
            return Due(_last(cron, timezone, now) or last, MOST_COUNTED)
    return None if last is None else Due(last, count - 1)


def _last(cron: str, timezone: str, now: datetime) -> datetime | None:
    """The last time that is not after `now`."""
    for each in CronSim(cron, now.astimezone(zone(timezone)), reverse=True):
        return each.astimezone(UTC)
    return None


def reference(cron: str) -> CronSim:
    """The fields of a valid `cron`, parsed: numbers, and what stands for the last day or for the second Friday."""
    return CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))


def zone(name: str) -> tzinfo:
    """The time zone called `name`. Raises ConfigurationError, which says so if this machine knows none at all."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        if _has_none():
            raise ConfigurationError(
                f"this machine has no time zones, so {name} is unknown; UTC works without them",
                next_step="apt install tzdata\n# or: pip install tzdata",
            ) from exc
        raise ConfigurationError(
            f"there is no time zone {name!r}", next_step="--timezone Europe/Berlin\n# or another name, or UTC"
        ) from exc


def _has_none() -> bool:
    try:
        ZoneInfo("Europe/London")
    except (ZoneInfoNotFoundError, OSError):
        return True
    return False


def local_zone() -> str:
    """The name of this machine's time zone: TZ, or what the system is set to; UTC if it is set to none.

    Raises ConfigurationError if it has no name that can be found.
    """
    if name := os.environ.get("TZ", "").removeprefix(":"):
        zone(name)
        return name
    link = os.path.realpath("/etc/localtime")
    if not os.path.exists(link):
        return "UTC"
    name = link.rpartition("/zoneinfo/")[2]
    if name == link:
        raise ConfigurationError(
            "the time zone of this machine has no name: /etc/localtime is a copy", next_step="--timezone Europe/Berlin"
        )
    name = name.removeprefix("posix/").removeprefix("right/")
    return "UTC" if name in ("Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal") else name
