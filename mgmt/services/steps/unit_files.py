"""The syntax of systemd's unit files and of crontabs: what is quoted how, and how each says at which times."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from cronsim import CronSim

from mgmt.services.steps.times import reference, times, zone

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "%": "%%"}
"""Within double quotes, of systemd.syntax(7); and the specifiers of systemd.unit(5)."""

_HOURS = range(24)
_AHEAD, _LOOKED_AT = timedelta(days=3660), 4000
"""How far to look for changes of clocks: for ten years, and at no more times than these."""

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def exec_line(words: Sequence[str]) -> str:
    """The words of a command for `ExecStart=`. The first, a path, is not subject to the expansion of variables."""
    first, *others = words
    return " ".join([_quoted(first), *(_quoted(each).replace("$", "$$") for each in others)])


def environment_line(name: str, value: str) -> str:
    """An assignment for `Environment=`, in which `$` means itself."""
    return _quoted(f"{name}={value}")


def text_line(text: str) -> str:
    """A text such as a description: one line, without specifiers."""
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown.replace("\\", "\\\\").replace("%", "%%")


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def calendar(cron: str, timezone: str, after: datetime) -> list[str]:
    """The times of `cron` after `after` for `OnCalendar=`: each of them or more, as `schedule run` runs none twice.

    systemd skips a time that a change of clocks leaves out, and the second one of an hour that comes twice. So the
    moments to which the former move are listed, too, and what runs in every hour is given in UTC.
    """
    sim = reference(cron)
    if len(sim.hours) == len(_HOURS) and _has_whole_hours(timezone, after):
        timezone = "UTC" if _is_any_day(sim) else timezone
    clock = f"{_list(sim.hours, 24)}:{_list(sim.minutes, 60)}:00 {timezone}"
    moved = {(each.month, each.hour, each.minute) for each in _moved(cron, timezone, after)}
    return [
        *(f"{days} {clock}" for days in _dates(sim)),
        *(f"*-{month:02}-* {hour:02}:{minute:02}:00 {timezone}" for month, hour, minute in sorted(moved)),
    ]


def _dates(sim: CronSim) -> list[str]:
    months, days, weekdays = _list(sim.months, 12), sim.days, {_weekday(each) for each in sim.weekdays}
    if min(days) < 0 or None in weekdays:  # the last day, or the second Friday
        return [f"*-{months}-*"]
    on_days = f"*-{months}-{_list(days, 31)}"
    named = ",".join(_DAYS[each] for each in sorted(weekdays, key=str) if each is not None)
    on_weekdays = f"{named} " if len(weekdays) < len(_DAYS) else ""
    if sim.day_and:
        return [on_weekdays + on_days]
    return [on_days, f"{on_weekdays}*-{months}-*"]


def _weekday(each: object) -> int | None:
    return each % 7 if isinstance(each, int) else None


def _is_any_day(sim: CronSim) -> bool:
    return _dates(sim) == ["*-*-*"]


def _has_whole_hours(timezone: str, after: datetime) -> bool:
    """Whether its clocks differ from UTC by whole hours, in summer and in winter."""
    halves = (after, after + timedelta(days=182))
    return all(each.astimezone(zone(timezone)).minute == each.astimezone(UTC).minute for each in halves)


def _moved(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The times in the next years that are not those of the clock, as a change of clocks leaves those out."""
    sim = reference(cron)
    for each in islice(times(cron, timezone, after), _LOOKED_AT):
        if each > after + _AHEAD:
            return
        if each.hour not in sim.hours or each.minute not in sim.minutes:
            yield each


def _list(numbers: Collection[int], of: int = 0) -> str:
    """The numbers; a star for all of them, if there are `of`."""
    if len(numbers) == of:
        return "*"
    return ",".join(f"{each:02}" for each in sorted(numbers))


def cron_fields(cron: str, *, same_zone: bool) -> str:
    """The fields of a crontab for `cron`, at its times or more often. Without `same_zone` every hour may be meant.

    All zones differ by multiples of fifteen minutes.
    """
    minute, hour, day, month, weekday = cron.split()
    sim = reference(cron)
    if any(each < 0 for each in sim.days) or any(not isinstance(each, int) for each in sim.weekdays):
        day = weekday = "*"
    if same_zone:
        return f"{minute} {hour} {day} {month} {weekday}"
    minutes = {(each + quarter) % 60 for each in sim.minutes for quarter in (0, 15, 30, 45)}
    return f"{','.join(str(each) for each in sorted(minutes))} * * * *"
