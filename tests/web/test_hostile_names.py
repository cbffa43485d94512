"""Whatever a name, key, tag, error or host is, it stays text: nothing of it runs, and it is shown as it is."""

import re
from datetime import UTC, datetime
from pathlib import Path

import html5lib
import pytest
from playwright.sync_api import Browser

from mgmt.catalog import PastOperation, Status, StoredArchive
from mgmt.services.page import Listed, Period
from mgmt.services.steps.figures import Activity, Archive, Exposure, Failure, Growth, Month, Report, Volume
from mgmt.shown import safe
from mgmt.web.report import report_page
from mgmt.words import operand
from tests.assets.naughty_strings import NAUGHTY
from tests.web.browser import opened

MARKER = "window.__ran = 1"
ATTACKS = (
    f"<script>{MARKER}</script>", f"</script><script>{MARKER}</script>", f"</style><script>{MARKER}</script>",
    f"</title><script>{MARKER}</script>", f"<img src=x onerror='{MARKER}'>", f"\"><img src=x onerror=\"{MARKER}\">",
    f"' onmouseover='{MARKER}", f'" autofocus onfocus="{MARKER}', f"<svg onload='{MARKER}'>", f"<!--<script>{MARKER}",
    f"javascript:{MARKER}", f"</desc></svg><script>{MARKER}</script>", "{{ cycler.__init__.__globals__ }}",
    f"]]><script>{MARKER}</script>", f"<iframe srcdoc='<script>{MARKER}</script>'>", "<base href='http://evil.example/'>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>", "<link rel=stylesheet href=http://evil.example/x>",
    "\u2028window.__ran = 1\u2029", f"`${{{MARKER}}}`", f"\\u003cscript>{MARKER}</script>", "half \udc80 a character",
)  # fmt: skip
NAMES = (*ATTACKS, *NAUGHTY)
TURN_ALL_PAGES = """() => {
  const names = [], forward = document.getElementById("archive-forward");
  for (;;) {
    document.querySelectorAll("#archive-table tbody th").forEach(each => names.push(each.firstChild.data));
    if (forward.disabled) return names;
    forward.click();
  }
}"""
AT = datetime(2026, 11, 5, 12, tzinfo=UTC)


def hostile() -> tuple[Report, Listed]:
    """A report in which every text is one of `NAMES`."""
    volumes = tuple(Volume(group=name, archives=1, size=5, original_size=6) for name in ATTACKS)
    first = tuple(Archive(name=name, key=name, store=name, size=1, on=AT, note=name, safety=name) for name in ATTACKS)
    exposure = Exposure(archives=len(first), size=9, first=first)
    counts = {name: {"failed": 1, name: 1} for name in ATTACKS}
    report = Report(
        made_at=AT,
        since=None,
        until=None,
        total=Volume(group=None, archives=len(NAMES), size=9, original_size=9),
        months=(Month(month="2026-11", archives=1, size=1, original_size=1, operations=counts),),
        groups={"folder": volumes, **{f"tag:{name}": volumes[:1] for name in ATTACKS}},
        activity=tuple(
            Activity(
                operation_type=name, statuses={name: 1}, median_seconds=1, p95_seconds=1, bytes=1, bytes_per_second=1
            )
            for name in ATTACKS
        ),
        failures=tuple(
            Failure(operation_type=name, cause=name, operations=1, last_at=AT, last_operation=name) for name in ATTACKS
        ),
        undone=(),
        damaged=exposure,
        unarchived=exposure,
        single_copy=exposure,
        unverified=exposure,
        unverified_days=90,
        expiring=exposure,
        growth=Growth(
            bytes_per_month=1, free=1, full_on=AT.date(), monthly=1, currency=ATTACKS[0], budget=1,
            budget_reached_on=AT.date(),
        ),
    )  # fmt: skip
    archives = tuple(StoredArchive(name, name, name, 1, 1, AT, AT, {name: name}) for name in NAMES)
    operations = tuple(PastOperation(name, name, Status.FAILED, name, AT, AT, name) for name in NAMES)
    period = Period(month="2026-11", since=AT, until=AT)
    return report, Listed(archives=archives, periods=(period,), operations=(operations,))


@pytest.fixture(scope="module")
def page_text() -> str:
    return report_page(*hostile())


def test_hostile_names_leave_the_markup_well_formed(page_text: str) -> None:
    """And add no element, no attribute, and no address."""
    document = html5lib.HTMLParser(strict=True).parse(page_text)
    found = {each.tag.rpartition("}")[2] for each in document.iter() if isinstance(each.tag, str)}
    assert found.isdisjoint({"img", "iframe", "base", "object", "embed", "form"})
    attributes = {(name, value) for each in document.iter() for name, value in each.attrib.items()}
    assert not [name for name, _ in attributes if str(name).startswith("on") or name in ("style", "src", "srcdoc")]
    assert {value for name, value in attributes if name == "href"} <= {"data:,", "#month-2026-11"} | set(
        re.findall(r'href="(#[a-z-]+)"', page_text)
    )
    assert page_text.count("<script") == page_text.count("</script") == 3


def test_hostile_names_are_shown_and_do_not_run(browser: Browser, page_text: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.html"
    file.write_text(page_text, "utf-8")
    with opened(browser, file) as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        page.locator("svg.chart a").first.click()
        shown = page.evaluate(TURN_ALL_PAGES)
        assert shown == list(map(safe, NAMES))
        targets = page.locator("#month tbody td:nth-child(4)").all_text_contents()
        assert targets == list(map(safe, NAMES))[: len(targets)]
        assert len(targets) > len(ATTACKS)
        commands = page.locator("#month tbody code").all_text_contents()
        assert commands == [f"mgmt status {operand(name)}" for name in NAMES][: len(targets)]
        page.locator("#archive-search").fill(ATTACKS[0])
        assert page.evaluate("window.__ran") is None
        assert page.evaluate("document.querySelectorAll('img, iframe, base, main script').length") == 0
