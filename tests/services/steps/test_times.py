"""The times of a schedule, with real time zones: what a change of clocks leaves out, and what comes twice."""

import os
import time
import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from mgmt.errors import ConfigurationError
from mgmt.services.steps.times import MOST_COUNTED, due, local_zone, next_times, zone

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def shown(cron: str, timezone: str, after: str, count: int) -> list[str]:
    found = next_times(cron, timezone, datetime.fromisoformat(after), count)
    return [f"{each:%m-%d %H:%M%z}" for each in found]


@pytest.mark.parametrize(
    ("cron", "timezone", "after", "expected"),
    [
        # 02:30 does not exist, and runs at the moment of the change.
        ("30 2 * * *", BERLIN, "2027-03-27T12:00+01:00", ["03-28 03:00+0200", "03-29 02:30+0200"]),
        ("0 2 * * *", NEW_YORK, "2027-03-13T12:00-05:00", ["03-14 03:00-0400", "03-15 02:00-0400"]),
        ("15 2 * * *", LORD_HOWE, "2027-10-02T12:00+10:30", ["10-03 02:30+1100", "10-04 02:15+1100"]),
        # Two such times are one, and so is one with the time that it moves to.
        ("0,30 2 * * *", BERLIN, "2027-03-27T12:00+01:00", ["03-28 03:00+0200", "03-29 02:00+0200"]),
        ("0 2,3 * * *", BERLIN, "2027-03-27T12:00+01:00", ["03-28 03:00+0200", "03-29 02:00+0200"]),
        # 02:30 is twice, and runs the first time.
        ("30 2 * * *", BERLIN, "2027-10-30T12:00+02:00", ["10-31 02:30+0200", "11-01 02:30+0100"]),
        ("30 1 * * *", NEW_YORK, "2027-11-06T12:00-04:00", ["11-07 01:30-0400", "11-08 01:30-0500"]),
        ("30 2 * * *", BERLIN, "2027-10-31T02:30+02:00", ["11-01 02:30+0100"]),
        # Made between both, it does not run at once.
        ("30 2 * * *", BERLIN, "2027-10-31T02:10+01:00", ["11-01 02:30+0100"]),
        # Every hour is every hour that passes.
        ("0 * * * *", BERLIN, "2027-03-28T00:30+01:00", ["03-28 01:00+0100", "03-28 03:00+0200", "03-28 04:00+0200"]),
        ("0 * * * *", BERLIN, "2027-10-31T01:30+02:00", ["10-31 02:00+0200", "10-31 02:00+0100", "10-31 03:00+0100"]),
        ("*/15 * * * *", BERLIN, "2027-03-28T01:30+01:00", ["03-28 01:45+0100", "03-28 03:00+0200"]),
        ("*/15 * * * *", BERLIN, "2027-10-31T02:40+02:00", ["10-31 02:45+0200", "10-31 02:00+0100"]),
        ("30 2 * * *", "UTC", "2027-03-27T12:00+00:00", ["03-28 02:30+0000", "03-29 02:30+0000"]),
    ],
)  # fmt: skip
def test_a_change_of_clocks(cron: str, timezone: str, after: str, expected: list[str]) -> None:
    assert shown(cron, timezone, after, len(expected)) == expected


@pytest.mark.parametrize("cron", ["0 * * * *", "*/15 * * * *"])
@pytest.mark.parametrize("day", ["2027-03-28", "2027-10-31"])
def test_what_runs_in_every_hour_is_as_far_apart_as_ever(cron: str, day: str) -> None:
    times = [each.astimezone(UTC) for each in next_times(cron, BERLIN, datetime.fromisoformat(f"{day}T00:00Z"), 20)]
    assert {after - before for before, after in pairwise(times)} == {
        timedelta(minutes=60 if cron.startswith("0") else 15)
    }


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "0 0 1 * * *", "@daily", "61 * * * *", "0 24 * * *", "0 0 31 2 *", "0 0 * * 8", "a b c d e"],
)
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a schedule"):
        next_times(cron, "UTC", datetime.now(UTC), 1)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "/etc/passwd", "Europe", "", "CEST5"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no time zone") as error:
        zone(name)
    assert "--timezone" in str(error.value.next_step)


def test_a_machine_without_time_zones_says_so(tmp_path: Path) -> None:
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert zone("UTC") is UTC
        with pytest.raises(ConfigurationError, match="this machine has no time zones, so Europe/Berlin") as error:
            zone(BERLIN)
        assert "tzdata" in str(error.value.next_step)
    finally:
        zoneinfo.reset_tzpath(before)
        zoneinfo.ZoneInfo.clear_cache()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_the_last_time_that_has_passed_is_due_and_earlier_ones_were_missed() -> None:
    found = due("0 * * * *", "UTC", at("2027-01-01T00:00Z"), at("2027-01-01T03:59Z"))
    assert found is not None
    assert (found.time, found.missed) == (at("2027-01-01T03:00Z"), 2)
    assert due("0 * * * *", "UTC", at("2027-01-01T03:00Z"), at("2027-01-01T03:59Z")) is None
    now = due("0 * * * *", "UTC", at("2027-01-01T03:00Z"), at("2027-01-01T04:00Z"))
    assert now is not None
    assert (now.time, now.missed) == (at("2027-01-01T04:00Z"), 0)


def test_the_second_of_a_time_that_is_twice_is_not_due() -> None:
    first = due("30 2 * * *", BERLIN, at("2027-10-30T12:00+02:00"), at("2027-10-31T02:31+02:00"))
    assert first is not None
    assert due("30 2 * * *", BERLIN, first.time, at("2027-10-31T02:31+01:00")) is None


def test_years_of_missed_times_are_counted_soon() -> None:
    began = time.process_time()
    found = due("* * * * *", BERLIN, at("2000-01-01T00:00Z"), at("2027-10-31T02:59:30Z"))
    assert found is not None
    assert (found.time, found.missed) == (at("2027-10-31T02:59Z"), MOST_COUNTED)
    assert time.process_time() - began < 1


def test_the_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":America/New_York")
    assert local_zone() == NEW_YORK
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    with pytest.raises(ConfigurationError):
        local_zone()
    monkeypatch.delenv("TZ")
    for target, expected in {
        "/usr/share/zoneinfo/Europe/Berlin": BERLIN,
        "/var/db/timezone/zoneinfo/posix/Europe/Berlin": BERLIN,
        "/usr/share/zoneinfo/Etc/UTC": "UTC",
    }.items():
        monkeypatch.setattr(os.path, "realpath", lambda _, target=target: target)
        monkeypatch.setattr(os.path, "exists", lambda _: True)
        assert local_zone() == expected
    monkeypatch.setattr(os.path, "realpath", lambda path: path)
    with pytest.raises(ConfigurationError, match="has no name"):
        local_zone()
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    assert local_zone() == "UTC"
