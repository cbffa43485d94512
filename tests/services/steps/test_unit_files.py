"""What a unit of systemd and a crontab are told, read back by systemd and by a shell."""

import re
import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from mgmt.services.steps.times import next_times
from mgmt.services.steps.unit_files import calendar, cron_fields, environment_line, exec_line, text_line

NOW = datetime(2026, 12, 1, tzinfo=UTC)
ODD = [
    "/opt/100% mine/$HOME/m\"g'mt",
    "--x=%h",
    "a b",
    "$HOME",
    "${X}",
    "back\\slash",
    "new\nline",
    "tab\t",
    "ümlaut",
    ";",
    "",
]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="NOT TESTED: systemd-analyze is not on this machine"
)


def unquoted(line: str) -> list[str]:
    """The words of a line that has only quoted words, by the rules of systemd.service(5)."""
    escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    read = [re.sub(r"\\(x..|.)", lambda m: escapes.get(m[1]) or chr(int(m[1][1:], 16)), each) for each in words]
    return [each.replace("%%", "%") for each in read]


def test_every_word_of_a_command_is_quoted() -> None:
    line = exec_line(ODD)
    assert "\n" not in line
    first, *others = unquoted(line)
    assert [first, *(each.replace("$$", "$") for each in others)] == ODD
    assert re.findall(r"(?<!\$)\$(?!\$)", line.partition(' "--x')[2]) == []
    assert exec_line(["/mgmt", "b\udcff"]) == '"/mgmt" "b\\xff"'


def test_an_assignment_and_a_text_have_no_specifiers() -> None:
    assert environment_line("A", '%h $B "') == '"A=%%h $B \\""'
    assert text_line("50% of\na\\b") == "50%% of?a\\\\b"


CRONS = ["30 2 * * *", "*/15 * * * *", "0 12 * * SUN", "0 0 1,15 * 5", "5 4 */2 1-6 1-5", "0 0 29 2 *", "0 */6 * * *"]


@needs_systemd
@pytest.mark.parametrize("cron", CRONS)
def test_systemd_has_the_same_times(cron: str) -> None:
    after = datetime(2027, 5, 1, 12, tzinfo=UTC)  # far from a change of clocks
    found: set[datetime] = set()
    for line in calendar(cron, "Europe/Berlin", after):
        words = ["systemd-analyze", "calendar", "--iterations=6", f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC", line]
        shown = subprocess.run(words, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"})
        moments = re.findall(r"(?:elapse|#\d+): \w+ ([\d-]+ [\d:]+) UTC", shown.stdout)
        found |= {datetime.fromisoformat(f"{each}+00:00") for each in moments}
    expected = [each.astimezone(UTC) for each in next_times(cron, "Europe/Berlin", after, 6)]
    first = sorted(found)
    # What a change of clocks moves has a line of its own, which comes oftener: `schedule run` does nothing then.
    assert set(expected[:3]) <= set(first)
    assert first[0] == expected[0]


@needs_systemd
def test_systemd_runs_soon_after_a_time_that_the_clocks_leave_out() -> None:
    after = datetime(2027, 3, 28, 0, 30, tzinfo=UTC)
    (expected,) = next_times("30 2 * * *", "Europe/Berlin", after, 1)
    moments = []
    for line in calendar("30 2 * * *", "Europe/Berlin", after):
        words = ["systemd-analyze", "calendar", f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC", line]
        shown = subprocess.run(words, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"})
        moments += re.findall(r"elapse: \w+ ([\d-]+ [\d:]+) UTC", shown.stdout)
    assert f"{expected.astimezone(UTC):%Y-%m-%d %H:%M:%S}" in moments


def test_what_systemd_cannot_say_comes_oftener() -> None:
    assert calendar("0 0 L * *", "UTC", NOW) == ["*-*-* 00:00:00 UTC"]
    assert calendar("0 0 * * 5#2", "UTC", NOW) == ["*-*-* 00:00:00 UTC"]
    assert calendar("0 0 1 * 0-6", "UTC", NOW) == ["*-*-01 00:00:00 UTC", "*-*-* 00:00:00 UTC"]


def test_what_runs_in_every_hour_is_given_in_utc() -> None:
    assert calendar("*/30 * * * *", "Europe/Berlin", NOW) == ["*-*-* *:00,30:00 UTC"]
    assert calendar("0 * * * *", "Asia/Kolkata", NOW) == ["*-*-* *:00:00 Asia/Kolkata"]


def test_a_crontab_comes_oftener_for_another_time_zone() -> None:
    assert cron_fields("30 2 * * 1-5", same_zone=True) == "30 2 * * 1-5"
    assert cron_fields("30 2 * * 1-5", same_zone=False) == "0,15,30,45 * * * *"
    assert cron_fields("7 2 L * *", same_zone=True) == "7 2 * * *"
    assert cron_fields("7 2 * * *", same_zone=False) == "7,22,37,52 * * * *"
