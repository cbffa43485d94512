"""The page of the report in a real browser: it opens alone, for everybody, and does what it says."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mgmt.shown import human_duration, human_size
from tests.web.browser import faults, opened

COLOURS = {"light": (), "dark": ("color-contrast",)}
"""What axe-core looks for: in the dark, only what depends on colours."""


def names(page: Page) -> list[str]:
    """The names in the first column of the table of archives."""
    found: list[str] = page.locator("#archive-table tbody th").evaluate_all(
        "all => all.map(each => each.firstChild.data)"
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_each_width_and_axe_finds_no_fault(browser: Browser, short_report_file: Path, scheme: str) -> None:
    with opened(browser, short_report_file, scheme=scheme) as page:
        page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
        page.locator("svg.chart a").last.click()
        alike = page.locator("tbody tr:nth-child(n+4), .listed li:nth-child(n+3)")
        alike.evaluate_all("all => all.forEach(each => each.remove())")  # axe-core takes time for each
        for width in (390, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert faults(page, *COLOURS[scheme]) == []


def test_the_answer_comes_first(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        heading = page.get_by_role("heading", level=1)
        expect(heading).to_have_text("1,329 archives, 14.4 TiB; 3 things need attention")
        levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(each => Number(each.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1


def test_the_table_is_searched_as_one_types(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        search, found = page.get_by_role("searchbox", name="Search"), page.locator("#archive-found")
        expect(found).to_have_text("1 to 25 of 1,329")
        search.fill("LANTERNS stills")
        assert names(page)
        assert all("paper-lanterns" in name and "stills" in name for name in names(page))
        search.fill("vault")
        assert set(page.locator("#archive-table tbody td:nth-child(5)").all_text_contents()) == {
            "file:///mnt/vault/film"
        }
        search.fill("<script>")
        expect(found).to_have_text("No archive has all of these words.")
        search.fill("")
        expect(found).to_have_text("1 to 25 of 1,329")


def test_the_table_is_sorted_by_clicks(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        head = page.locator("#archive-table th", has_text="Size")
        sizes = page.locator("#archive-table tbody td:nth-child(2)")
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "descending")
        largest = sizes.first.text_content()
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "ascending")
        assert (largest or "").endswith("GiB")
        assert (sizes.first.text_content() or "").endswith("MiB")
        page.locator("#archive-table th", has_text="Name").get_by_role("button").click()
        assert names(page) == sorted(names(page))
        expect(head).not_to_have_attribute("aria-sort", "ascending")
        assert page.locator("#archive-table th[aria-sort]").count() == 1


def test_the_table_is_searched_sorted_and_turned_by_keyboard(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        page.get_by_role("searchbox").focus()
        page.keyboard.type("drone")
        before = names(page)
        page.keyboard.press("Tab")  # the region that scrolls
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Name")).to_be_focused()
        page.keyboard.press("Enter")
        assert names(page) != before
        assert names(page) == sorted(names(page))
        for _ in range(7):
            page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Forward")).to_be_focused()  # the other one is disabled
        page.keyboard.press("Space")
        expect(page.locator("#archive-found")).to_contain_text("26 to 50 of")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#archive-found")).to_contain_text("1 to 25 of")


def test_a_click_on_a_month_lists_its_operations(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        panel = page.locator("#month")
        expect(panel).to_be_hidden()
        page.locator('svg.chart a[data-month="2025-02"]').last.click()
        expect(panel.get_by_role("heading")).to_have_text("Feb 2025")
        expect(panel.get_by_role("heading")).to_be_focused()
        statuses = panel.locator(".status").all_text_contents()
        unsuccessful = [each in ("failed", "partial") for each in statuses]
        assert unsuccessful[0]
        assert unsuccessful == sorted(unsuccessful, reverse=True)
        assert panel.locator("tbody tr").count() == 50
        log = "mgmt log --since 2025-02-01T00:00:00Z --until 2025-03-01T00:00:00Z --limit"
        expect(panel.locator(".rest code")).to_contain_text(log)
        panel.get_by_role("button", name="Close").click()
        expect(panel).to_be_hidden()


def test_a_month_is_opened_by_keyboard(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        bars = page.locator("svg.chart").first.locator("a")
        assert page.locator('svg.chart a[tabindex="0"]').count() == 2  # one stop a chart
        bars.last.focus()
        for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
            page.keyboard.press(key)
        expect(page.locator('svg.chart a[data-month="2026-10"]').first).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#month h3")).to_have_text("Oct 2026")
        expect(page.locator("#month h3")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#month")).to_be_hidden()
        expect(page.locator('svg.chart a[data-month="2026-10"]').first).to_be_focused()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        expect(page.locator("#month h3")).to_have_text("Jan 2024")


def test_the_first_tab_stop_skips_to_the_content(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_a_command_is_copied(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        page.get_by_role("button", name="Copy mgmt verify --all").click()
        expect(page.get_by_text("Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == "mgmt verify --all"


def test_without_scripts_it_is_readable(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file, scripts=False) as page:
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_text("Without JavaScript, the page shows the first 25 of its archives.")).to_be_visible()
        assert page.locator("#archive-table tbody tr").count() == 25
        expect(page.get_by_role("searchbox")).to_be_hidden()
        expect(page.locator("#archive-forward")).to_be_hidden()
        page.locator('svg.chart a[data-month="2025-02"]').first.click()  # leads to the row of the table of months
        expect(page.locator("#month-2025-02")).to_be_visible()


def test_paper_has_no_controls(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file, scheme="dark") as page:
        page.emulate_media(media="print")
        for control in (page.locator("nav"), page.get_by_role("searchbox"), page.locator(".pager")):
            expect(control).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_scripts_write_sizes_and_durations_as_the_terminal_does(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file) as page:
        for number in (0, 1023, 1024, 1536, 10 << 20, (1 << 40) + 1, 5 << 50):
            seconds = number / 1000 % 900_000
            assert page.evaluate(f"size({number})") == human_size(number)
            assert page.evaluate(f"duration({seconds})") == human_duration(seconds)
