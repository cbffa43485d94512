"""What the page of a report says, and how large it is."""

from dataclasses import replace
from datetime import timedelta

import pytest

from demo.studio import NOW, studio
from mgmt.catalog import PastOperation, Status, StoredArchive
from mgmt.services.page import Listed
from mgmt.services.steps.figures import Exposure, Failure, Growth, Report, Volume
from mgmt.web.attention import alerts
from mgmt.web.report import report_page

ID = "7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11"
NOTHING = Exposure(archives=0, size=0)
NO_GROWTH = Growth(
    bytes_per_month=None, free=None, full_on=None, monthly=None, currency=None, budget=None, budget_reached_on=None
)


def well(report: Report) -> Report:
    """The same without anything that needs attention."""
    return replace(
        report,
        failures=(),
        undone=(),
        damaged=NOTHING,
        unarchived=NOTHING,
        unverified=NOTHING,
        expiring=NOTHING,
        growth=NO_GROWTH,
    )


def ten_years() -> tuple[Report, Listed]:
    """One year, ten times."""
    report, listed = studio(12)
    names = [f"{2017 + each // 12}-{each % 12 + 1:02}" for each in range(120)]
    months = tuple(replace(each, month=name) for each, name in zip(report.months * 10, names, strict=True))
    periods = tuple(replace(each, month=name) for each, name in zip(listed.periods * 10, names, strict=True))
    return (
        replace(report, months=months),
        replace(listed, periods=periods, operations=tuple(each[:25] for each in listed.operations) * 10),
    )


def test_a_page_of_ten_thousand_archives_and_a_million_operations_is_small() -> None:
    report, listed = ten_years()
    archive = StoredArchive(
        "production/reel/" + "n" * 90, "s3://bucket/film", "DEEP_ARCHIVE", 1 << 40, 1 << 41, NOW, NOW, {"reel": "a"}
    )
    failed = PastOperation(ID, "upload", Status.FAILED, "t" * 900, NOW, NOW, "e" * 9000)
    page = report_page(
        replace(report, total=replace(report.total, archives=10_000)),
        replace(listed, archives=(archive,) * 10_000, operations=((failed,) * 25,) * 120),
    )
    assert len(page.encode()) < 3_000_000
    assert page.count("n" * 90) >= 10_000


def test_names_that_are_long_cut_the_list_and_not_the_limit() -> None:
    """And the page says so, and how to get all."""
    report, listed = studio(2)
    archive = replace_key(listed.archives[0], "k" * 1024)
    report = replace(report, total=replace(report.total, archives=10_000))
    page = report_page(report, replace(listed, archives=(archive,) * 10_000))
    assert len(page.encode()) < 3_000_000
    assert "of 10,000. A page with all of them, which is larger:" in page
    assert "mgmt report --html FILE --archives 10000" in page
    whole = report_page(report, replace(listed, archives=(archive,) * 10_000), 20_000)
    assert whole.count("k" * 1024) >= 10_000


def test_a_clock_that_was_wrong_for_once_does_not_fill_the_page() -> None:
    """A file of 1970, or of 9999, makes centuries of months: the page shows the last ten years of them."""
    report, listed = ten_years()
    month = report.months[0]
    empty = tuple(replace(month, month=f"{1970 + each // 12}-{each % 12 + 1:02}") for each in range(54 * 12))
    page = report_page(replace(report, months=(*empty, *report.months)), listed)
    assert "The last 120 of 768 months" in page
    assert len(page.encode()) < 3_000_000
    assert page.count('<tr id="month-') == 120


def replace_key(archive: StoredArchive, key: str) -> StoredArchive:
    return archive._replace(key=key)


def test_a_page_about_nothing_says_that() -> None:
    report, listed = studio(1)
    nothing = replace(
        well(report), total=Volume(group=None, archives=0, size=0, original_size=0), months=(), activity=(), groups={}
    )
    page = report_page(nothing, replace(listed, archives=(), periods=(), operations=()))
    assert "<h1>0 archives, 0 B; nothing needs attention</h1>" in page
    assert "Nothing is archived yet." in page
    assert "archive-table" not in page.partition("<script>")[0]


def test_only_what_is_left_to_do_needs_attention_and_every_cause_is_listed() -> None:
    report, listed = studio(1)
    failed = [
        Failure(
            operation_type="upload",
            cause=f"cause {days}",
            operations=days,
            last_at=NOW - timedelta(days=days),
            last_operation=ID,
        )
        for days in (1, 29, 31, 400)
    ]
    report = replace(well(report), failures=tuple(failed), undone=tuple(failed[:2]))
    [alert] = alerts(report)
    assert alert.title == "30 operations failed in the last 30 days, and are left to do"
    assert [row.note for row in alert.rows] == [
        "upload, 1 time, last on 2026-11-27",
        "upload, 29 times, last on 2026-10-30",
    ]
    assert alert.rows[0].command == f"mgmt status {ID}"
    page = report_page(report, listed)
    assert [page.count(f"<strong>cause {days}</strong>") for days in (1, 29, 31, 400)] == [2, 2, 1, 1]
    assert alerts(replace(report, undone=())) == ()


@pytest.mark.parametrize(("days", "kinds"), [(10, ["the disk is full"]), (200, [])], ids=["soon", "late"])
def test_a_disk_needs_attention_when_it_is_full_soon(days: int, kinds: list[str]) -> None:
    report = well(studio(1)[0])
    full = replace(NO_GROWTH, full_on=(NOW + timedelta(days=days)).date(), free=1, bytes_per_month=1)
    assert [each.title.partition(" on ")[0].lower() for each in alerts(replace(report, growth=full))] == kinds


def test_a_command_of_an_alert_is_one_word_of_the_shell_for_each_name() -> None:
    report, _ = studio(3)
    odd = replace(report.single_copy.first[0], key="it's; rm -rf ~")
    [alert] = alerts(replace(well(report), damaged=Exposure(archives=1, size=1, first=(odd,))))
    assert alert.title == "1 archive is damaged or missing"
    assert alert.rows[0].command == f"mgmt status '{odd.store}/it'\"'\"'s; rm -rf ~'"
