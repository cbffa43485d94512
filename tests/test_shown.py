"""Sizes, times, durations and names, as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from mgmt.shown import counted, human_duration, human_size, human_time, rfc3339, safe


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("ünï ☃", "ünï ☃"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("bell\a tab\t", "bell\\x07 tab\\x09"),
        ("c1 \x9b", "c1 \\x9b"),
        ("bidi \u202egnp.exe", "bidi \\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("bytes \udcff\udcfe", "bytes \\xff\\xfe"),
        ("line\nbreak", "line\\x0abreak"),
        ("no characters \ufffe \ufdd0 \U0001ffff", "no characters \\ufffe \\ufdd0 \\U0001ffff"),
    ],
)
def test_control_characters_are_escaped(raw: str, shown: str) -> None:
    assert safe(raw) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert human_size(size) == shown


def test_times_for_people_and_programs() -> None:
    now = datetime.now(UTC)
    assert human_time(now - timedelta(minutes=3, seconds=1)) == "3 min ago"
    assert rfc3339(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"), (0.42, "0.4 s"), (9.96, "10.0 s"), (42.4, "42 s"), (60, "1 min"), (200, "3 min 20 s"),
        (3600, "1 h"), (7530, "2 h 5 min"), (86400 * 3 + 7200, "3 d 2 h"),
    ],
)  # fmt: skip
def test_durations_for_people(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


@pytest.mark.parametrize(("number", "text"), [(0, "0 archives"), (1, "1 archive"), (1204, "1,204 archives")])
def test_a_number_of_things(number: int, text: str) -> None:
    assert counted(number, "archive") == text
    assert counted(2, "copy", "copies") == "2 copies"
