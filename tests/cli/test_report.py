"""`mgmt report`: readable at any width, without colours, without block characters, and for programs."""

import csv
import html
import io
import json
import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from wcwidth import wcswidth

from mgmt.catalog.files.figures import GROUPS
from mgmt.cli.charts import Charts
from mgmt.cli.cost import money
from mgmt.cli.render import Renderer
from mgmt.cli.report_text import ReportText, duration, sentences
from mgmt.services.steps.figures import (
    Activity,
    Archive,
    Exposure,
    Failure,
    Growth,
    Month,
    Report,
    Volume,
)
from tests.program import Program

WHEN = datetime(2026, 11, 29, 12, tzinfo=UTC)
GIB = 1 << 30
SAFETY = "Safe: 1 proven copy (s3://media), last verified 3 days ago; the original was freed"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Ascii(io.StringIO):
    encoding = "ascii"


def exposure(archives: int, note: str) -> Exposure:
    listed = Archive(
        name="holiday.tar.gz",
        key="2026/a folder with a long name/holiday at the sea.tar.gz",
        store="s3://media",
        size=3 * GIB,
        on=WHEN,
        note=note,
        safety=SAFETY,
    )
    return Exposure(archives=archives, size=archives * GIB, first=(listed,) * min(archives, 20))


def volume(group: str | None, size: int) -> Volume:
    return Volume(group=group, archives=size, size=size * GIB, original_size=size * 2 * GIB)


REPORT = Report(
    made_at=WHEN,
    since=None,
    until=None,
    total=volume(None, 1234),
    months=tuple(
        Month(
            month=f"{2024 + at // 12}-{at % 12 + 1:02}",
            archives=at,
            size=at * GIB,
            original_size=at * GIB,
            operations={"upload": {"success": 1000 + at, "failed": 3}},
        )
        for at in range(35)
    ),
    groups={
        "class": (volume("DEEP_ARCHIVE", 1000), volume(None, 234)),
        "store": (volume("s3://media", 1234),),
        "folder": (volume("=cmd()", 1233), volume("\x1b[31m漢字", 1)),
        "user": (volume("ann", 1234),),
        "host": (volume("nas", 1000), volume("laptop", 234)),
    },
    activity=(
        Activity(
            operation_type="upload",
            statuses={"success": 12_345, "failed": 67, "partial": 8},
            median_seconds=0.42,
            p95_seconds=7300.0,
            bytes=5 * GIB,
            bytes_per_second=1e7,
        ),
    ),
    failures=(
        Failure(
            operation_type="upload",
            cause="…: Permission denied",
            operations=67,
            last_at=WHEN,
            last_operation="7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11",
        ),
    ),
    undone=(),
    damaged=exposure(2, "found damaged or missing on 2026-11-29"),
    unarchived=exposure(0, ""),
    single_copy=exposure(7, "archived 2026-11-29"),
    unverified=exposure(0, ""),
    unverified_days=90,
    expiring=exposure(1, "the lock ends on 2026-11-30"),
    growth=Growth(
        bytes_per_month=5 * GIB,
        free=100 * GIB,
        full_on=date(2028, 7, 1),
        monthly=12.3,
        currency="USD",
        budget=20.0,
        budget_reached_on=date(2027, 3, 1),
    ),
)


def shown(out: io.StringIO, *by: str) -> str:
    ReportText(Renderer("table", out), out).show(REPORT, by)
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_table_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(Terminal())
    assert "\x1b" not in text
    prose = ("archives", "archive ", "Stored", "Growth", "Disks", "Cost", "All ")  # a terminal wraps it
    lines = [line for line in text.splitlines() if not any(each in line for each in prose)]
    assert max(map(wcswidth, lines)) <= width
    for part in ("Stored: 1,234 archives, 1.2 TiB", "By month", "By class", "By host", "Operations", "Failures"):
        assert part in text
    assert "By user" not in text  # there is one
    assert "All archives were verified" not in text
    assert "2 archives found damaged or missing (2.0 GiB)" in text
    assert "One proven copy: 7 archives (7.0 GiB)" in text
    assert "1 archive with a lock or a restored copy that ends within 30 days" in text
    assert "Safe: 1 pr" in text
    assert "█" in text


def test_a_bar_is_as_long_as_its_share() -> None:
    charts = Charts(io.StringIO())
    assert charts.bar(10, 10, 20) == "█" * 20
    assert charts.bar(5, 10, 20) == "█" * 10
    assert charts.bar(1, 10**9, 20) == "▏"
    assert charts.bar(0, 10, 20) == charts.bar(0, 0, 20) == ""
    assert charts.sparkline([0, 1, 2, 7]) == "▁▂▃█"
    assert charts.sparkline([0, 0]) == "▁▁"
    assert charts.sparkline([]) == ""


def test_without_block_characters_there_is_ascii() -> None:
    text = shown(Ascii())
    assert text.replace("漢字", "").isascii()
    assert "####" in text
    assert "...: Permission denied" in text


def test_colours_only_at_a_terminal_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    coloured, plain = shown(Terminal()), shown(io.StringIO())
    assert "\x1b[36m" in coloured
    assert "\x1b" not in plain
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert bare == plain
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(Terminal())


def test_names_cannot_control_the_terminal() -> None:
    assert "\\x1b[31m漢字" in shown(io.StringIO())


def test_the_period_is_named() -> None:
    out = io.StringIO()
    ReportText(Renderer("table", out), out).show(replace(REPORT, since=WHEN, until=WHEN), ())
    assert "Operations since 2026-11-29 until 2026-11-29\n" in out.getvalue()
    assert "\nOperations\n" in shown(io.StringIO())


def test_the_groups_that_are_asked_for() -> None:
    text = shown(io.StringIO(), "user")
    assert "By user" in text
    assert "By class" not in text


def test_what_is_said_of_the_growth() -> None:
    assert sentences(REPORT.growth) == [
        "Growth: 5.0 GiB a month, the mean of the last complete months.",
        "Disks of the stores: 100.0 GiB free, full about 2028-07-01.",
        "Cost: about 12.30 USD a month; the budget of 20.00 is reached about 2027-03-01.",
    ]
    nothing = Growth(
        bytes_per_month=None,
        free=None,
        full_on=None,
        monthly=None,
        currency=None,
        budget=None,
        budget_reached_on=None,
    )
    assert sentences(nothing) == []
    assert sentences(replace(nothing, budget=5.0)) == [
        "Cost: unknown, as a price is: mgmt config set price_region REGION, or prices FILE."
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (90, "1 min 30 s"),
        (7200, "2 h"),
        (3.6e6, "41 d 16 h"),
    ],
)
def test_a_duration(seconds: float | None, text: str | None) -> None:
    assert duration(seconds) == text


def test_an_empty_catalog_is_reported_as_such(mgmt: Program) -> None:
    assert mgmt.ok("report") == "The catalog is empty: nothing was archived yet, and no operation is recorded.\n"
    assert mgmt.json("report")["total"] == {"group": None, "archives": 0, "size": 0, "original_size": 0}
    assert mgmt.ok("-o", "csv", "report") == ""


@pytest.fixture
def used(mgmt: Program) -> Program:
    for name in ("clip", "other"):
        (mgmt.work / name).write_text(name * 1000)
        mgmt.ok("upload", "--tag", f"case={name}", name)
    mgmt.run("upload", "missing")
    return mgmt


def test_a_report_of_what_was_done(used: Program) -> None:
    text = used.ok("report")
    assert "Stored: 2 archives" in text
    assert "All archives have a second proven copy." in text
    assert "All archives were verified within 90 days." in text
    assert "Disks of the stores:" in text
    found = used.json("report", "--by", "tag:case")
    assert {each["group"] for each in found["groups"]["tag:case"]} == {"clip", "other"}
    assert [each["operation_type"] for each in found["activity"]] == ["upload"]
    assert found["activity"][0]["statuses"] == {"success": 2, "failed": 1}
    [failure] = found["failures"]
    assert used.json("status", failure["last_operation"])["operation"]["status"] == "failed"
    kinds = ("damaged", "unarchived", "single_copy", "unverified", "expiring")
    assert [found[each] for each in kinds] == [{"archives": 0, "size": 0, "first": []}] * 5
    line = json.loads(used.ok("-o", "jsonl", "report"))
    assert line["type"] == "report"


def test_an_archive_whose_copy_was_freed_has_no_second_copy(used: Program) -> None:
    used.ok("free", "clip", "--yes")
    found = used.json("report")["single_copy"]
    assert (found["archives"], [each["key"] for each in found["first"]]) == (1, ["clip.tar.gz"])
    text = used.ok("report")
    assert "One proven copy: 1 archive (" in text
    assert "; 1 thing needs attention</h1>" in used.ok("report", "--html", "-")  # what failed
    sentence = used.json("status", "clip.tar.gz")["sentence"]
    assert sentence.startswith("Safe: 1 proven copy (")
    assert found["first"][0]["safety"] == sentence
    assert sentence in text
    assert sentence in html.unescape(used.ok("report", "--html", "-"))


def test_an_archive_that_is_damaged_or_missing_is_the_first_risk_until_it_is_mended(used: Program) -> None:
    used.environment = {**used.environment, "COLUMNS": "250"}
    stored = Path(used.store.removeprefix("file://"))
    damaged, missing = stored / "clip.tar.gz", stored / "other.tar.gz"
    whole = {each: each.read_bytes() for each in (damaged, missing)}
    damaged.write_bytes(whole[damaged][:-1] + b"?")
    missing.unlink()
    assert used.run("verify", "--all").returncode != 0
    found = used.json("report")["damaged"]
    assert (found["archives"], {each["key"] for each in found["first"]}) == (2, {"clip.tar.gz", "other.tar.gz"})
    for each in found["first"]:
        assert each["safety"].startswith("At risk: ")
        assert "(found today)" in each["safety"]
    text = used.ok("report")
    assert "2 archives found damaged or missing" in text
    assert text.index("found damaged") < text.index("By month")
    assert "were verified" not in text
    assert "2 archives are damaged or missing; " in used.ok("report", "--html", "-")
    assert "mgmt_damaged_archives 2\n" in used.ok("metrics", "-")
    for path, content in whole.items():
        path.write_bytes(content)
    used.ok("verify", "clip.tar.gz")
    assert used.json("report")["damaged"]["archives"] == 1
    used.ok("delete", "--yes", "--last-copy", "other.tar.gz")
    assert used.json("report")["damaged"]["archives"] == 0
    assert "mgmt_damaged_archives 0\n" in used.ok("metrics", "-")


def test_what_failed_needs_attention_until_it_is_done_or_tried_again(used: Program) -> None:
    for _ in range(2):
        used.run("status", "typo")
        used.run("search", "--tag", "=")
    used.run("upload", "missing")
    [failure] = used.json("report")["undone"]
    assert (failure["operation_type"], failure["operations"]) == ("upload", 1)  # one target, however often
    page = used.ok("report", "--html", "-")
    assert "1 operation failed in the last 30 days, and is left to do" in page
    assert "upload" in used.ok("retry", "--failed", "--since", "30d", "-n")
    assert "1 operation that failed is left to do: mgmt retry --failed --since 30d -n" in used.ok("report")
    (used.work / "missing").write_text("here")
    used.ok("upload", "missing")
    found = used.json("report")
    assert found["undone"] == []
    assert found["failures"]
    assert "nothing needs attention" in used.ok("report", "--html", "-")
    assert "left to do:" not in used.ok("report")


def test_what_was_cancelled_since_is_not_left_to_do_and_what_was_interrupted_is(used: Program) -> None:
    used.run("upload", "missing")
    newest = "(SELECT max(seq) FROM operations)"
    for message, number in (("interrupted", 1), ("cancelled by ann", 0)):
        used.records.change(
            f"UPDATE operations SET status = 'cancelled', error_message = '{message}' WHERE seq = {newest}"
        )
        assert sum(each["operations"] for each in used.json("report")["undone"]) == number


def test_status_of_what_failed_says_what_to_do(used: Program) -> None:
    [failure] = used.json("report")["undone"]
    operation = failure["last_operation"]
    assert f"what to do: mgmt retry {operation}" in used.ok("status", operation)
    (used.work / "missing").write_text("here")
    used.ok("retry", operation)
    assert "what to do" not in used.ok("status", operation)


def test_a_copy_whose_archive_was_deleted_is_a_risk(used: Program) -> None:
    used.environment = {**used.environment, "COLUMNS": "250"}
    used.ok("delete", "--yes", "clip.tar.gz")
    [copy] = used.json("report")["unarchived"]["first"]
    assert (copy["store"], copy["key"]) == (None, str(used.work / "completed" / "clip"))
    assert copy["safety"] == used.json("status", copy["key"])["sentence"]
    assert "At risk: no archive of it is stored" in copy["safety"]
    assert "1 copy in completed/, of which no archive is stored" in used.ok("report")
    assert "1 copy is the only one left; " in used.ok("report", "--html", "-")
    used.ok("upload", "--keep", copy["key"])
    assert used.json("report")["unarchived"]["archives"] == 0


def test_a_kept_original_is_no_second_copy(used: Program) -> None:
    (used.work / "kept").write_text("kept")
    used.ok("upload", "--keep", "kept")
    found = used.json("report")["single_copy"]
    assert [each["key"] for each in found["first"]] == ["kept.tar.gz"]
    assert found["first"][0]["safety"] == used.json("status", "kept.tar.gz")["sentence"]


def test_an_archive_in_which_a_fault_was_found_is_not_verified(used: Program) -> None:
    assert "mgmt_unverified_archives 0" in used.ok("metrics", "-")
    os.unlink(used.home / "store" / "clip.tar.gz")
    assert used.run("verify", "clip").returncode == 8
    found = used.json("report")["unverified"]
    assert (found["archives"], [each["key"] for each in found["first"]]) == (1, ["clip.tar.gz"])
    assert found["first"][0]["safety"].startswith("At risk: ")
    assert "mgmt_unverified_archives 1" in used.ok("metrics", "-")


def test_one_table_as_csv(used: Program) -> None:
    [month] = csv.DictReader(io.StringIO(used.ok("-o", "csv", "report")))
    assert (month["archives"], month["operations"], month["failed"]) == ("2", "3", "1")
    rows = list(csv.DictReader(io.StringIO(used.ok("-o", "csv", "report", "--by", "tag:case", "--by", "class"))))
    assert [(row["by"], row["group"]) for row in rows if row["by"] == "class"] == [("class", "")]
    assert {row["group"] for row in rows if row["by"] == "tag:case"} == {"clip", "other"}


def test_the_budget_is_a_setting(used: Program) -> None:
    used.environment = {**used.environment, "MGMT_PRICE_REGION": "us-east-1"}
    used.ok("config", "set", "budget", "12.5")
    assert used.json("config", "get", "budget")["value"] == 12.5
    growth = used.json("report")["growth"]
    assert (growth["budget"], growth["currency"]) == (12.5, "USD")
    assert growth["monthly"] < 0.01
    for wrong in ("0", "-1", "nan", "inf", "much"):
        assert used.run("config", "set", "budget", wrong).returncode == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--since", "2026-02-01", "--until", "2026-01-01"),
        ("--since", "2999-01-01"),
        ("--archives", "5"),
    ],
)
def test_a_report_about_nothing_is_refused(mgmt: Program, options: tuple[str, ...]) -> None:
    assert mgmt.run("report", *options).returncode == 2


def test_no_amount_is_minus_zero() -> None:
    shown = money("saved", "SAVED").value
    assert callable(shown)
    assert [shown(SimpleNamespace(saved=each)) for each in (-0.001, 0.0, -1.5, None)] == [
        "0.00",
        "0.00",
        "-1.50",
        "unknown",
    ]


def test_one_month_has_no_line(used: Program) -> None:
    lines = used.ok("report").splitlines()
    heading = lines.index("By month")
    assert lines[heading + 1].startswith("MONTH")


def test_the_groups_are_completed(mgmt: Program) -> None:
    mgmt.environment = {"_MGMT_COMPLETE": "bash_complete", "COMP_WORDS": "mgmt report --by ", "COMP_CWORD": "3"}
    found = subprocess.run(mgmt.command(), env=mgmt.env(), capture_output=True, text=True, check=True).stdout
    assert [line.rpartition(",")[2] for line in found.splitlines()] == [*GROUPS, "tag:"]


def test_a_period_before_anything_was_done(used: Program) -> None:
    found = used.json("report", "--until", "2020-01-01")
    assert (found["months"], found["activity"], found["total"]["archives"]) == ([], [], 2)
    assert "Stored: 2 archives" in used.ok("report", "--until", "2020-01-01")
