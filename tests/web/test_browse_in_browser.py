"""`mgmt browse` in a real browser: by clicks, by keyboard, without scripts, and seen from other sites."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from tests.program import Program
from tests.web.browser import Watched, faults
from tests.web.visitor import Visitor, serving

pytestmark = pytest.mark.sqlite

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    """Two archives, one of them with hostile names; a verification and an upload have failed."""
    for trip in ("lisbon", HOSTILE):
        (on_directory.work / trip / "day 1").mkdir(parents=True)
        for number in range(3):
            (on_directory.work / trip / "day 1" / f"IMG_{number}.jpg").write_text(f"{trip}{number}")
        (on_directory.work / trip / f"{HOSTILE}.txt").write_text("x")
    on_directory.ok("upload", "lisbon", "--tag", f"{HOSTILE}={HOSTILE}", "--tag", "kind=photo")
    on_directory.ok("upload", HOSTILE, "--key", "odd.tar.gz")
    assert on_directory.run("upload", f"{HOSTILE}missing").returncode == 4
    (on_directory.home / "store" / "odd.tar.gz").unlink()
    assert on_directory.run("verify", "odd.tar.gz").returncode == 8
    return on_directory


@pytest.fixture
def site(mgmt: Program) -> Iterator[Visitor]:
    with serving(mgmt.records.url) as visitor:
        yield visitor


@contextmanager
def visiting(browser: Browser, site: Visitor, *, scripts: bool = True) -> Iterator[tuple[Page, Watched]]:
    """A page that has come in. At the end it has asked this server alone, and made no noise."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900},
        java_script_enabled=scripts,
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
        base_url=f"http://127.0.0.1:{site.server.port}",
    )
    try:
        page, watched = context.new_page(), Watched()
        page.set_default_timeout(10_000)
        watched.watch(page)
        page.goto(site.guard.url)
        yield page, watched
        own = f"http://127.0.0.1:{site.server.port}/"
        assert [url for url in watched.requests if not url.startswith((own, "data:"))] == []
        assert watched.messages == []
    finally:
        context.close()


def test_the_token_leaves_the_address_and_scripts_see_no_cookie(browser: Browser, site: Visitor) -> None:
    with visiting(browser, site) as (page, watched):
        assert page.url == f"http://127.0.0.1:{site.server.port}/"
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate("document.referrer") == ""
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        page.get_by_role("link", name="Archives", exact=True).click()
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("Archives")
        assert [url for url in watched.requests if site.guard.token in url] == [site.guard.url]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_no_fault_on_any_page(browser: Browser, site: Visitor, width: int, scheme: str) -> None:
    with visiting(browser, site) as (page, _):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.goto("/archives")
        archive = page.locator("tbody a").first.get_attribute("href")
        page.goto("/operations?status=failed")
        operation = page.locator("tbody a").first.get_attribute("href")
        for target in ("/", "/archives", archive, "/operations", operation, "/search?q=IMG", "/search"):
            page.goto(target or "")
            if target == archive:
                page.locator("summary").first.click()
                expect(page.locator(".tree .tree")).to_be_visible()
            if target == "/search":
                page.get_by_role("searchbox").fill("IMG")
                expect(page.locator("#typed")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, target
            assert faults(page) == [], target


def test_a_search_is_answered_as_one_types_by_keyboard_alone(browser: Browser, site: Visitor) -> None:
    with visiting(browser, site) as (page, watched):
        field, results = page.get_by_role("searchbox"), page.locator("#typed")
        field.focus()
        page.keyboard.type("lisbon/nothing", delay=1)
        expect(results).to_contain_text("Nothing so far")
        for _ in "lisbon/nothing":
            page.keyboard.press("Backspace")
        expect(results).to_be_hidden()
        page.keyboard.type("IMG_2", delay=1)
        expect(page.get_by_role("status").filter(has_text="2 members")).to_be_attached()
        expect(results.get_by_role("link")).to_have_count(4)
        asked = [url for url in watched.requests if "/parts/search" in url]
        assert len(asked) <= 4  # a request for each pause, not for each key
        page.keyboard.press("Tab")  # the button
        page.keyboard.press("Tab")  # the region that scrolls
        page.keyboard.press("Tab")
        expect(results.get_by_role("link").first).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#inside")).to_contain_text("IMG_2.jpg")
        page.get_by_role("searchbox").focus()
        page.keyboard.type("IMG")
        expect(results).to_be_visible()
        page.keyboard.press("Escape")
        expect(results).to_be_hidden()
        page.keyboard.type("lisbon")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Search: lisbon")
        expect(page.get_by_role("main")).to_contain_text("lisbon.tar.gz")


def test_an_earlier_search_is_cancelled(browser: Browser, site: Visitor) -> None:
    with visiting(browser, site) as (page, _):
        held: list[Route] = []
        cancelled: list[str] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/parts/search?q=IMG", hold)
        page.on("requestfailed", lambda request: cancelled.append(request.url))
        page.get_by_role("searchbox").focus()
        with page.expect_request("**/parts/search?q=IMG"):
            page.keyboard.type("IMG")
        page.keyboard.type("_1")
        expect(page.locator("#typed")).to_contain_text("IMG_1.jpg")
        assert [url.rpartition("=")[2] for url in cancelled] == ["IMG"]


def test_folders_open_in_place_by_keyboard(browser: Browser, site: Visitor) -> None:
    with visiting(browser, site) as (page, _):
        page.goto("/archives")
        page.get_by_role("link", name="lisbon.tar.gz").click()
        page.locator("summary", has_text="lisbon/").focus()
        page.keyboard.press("Enter")
        inner = page.locator("summary", has_text="day 1/")
        expect(inner).to_be_visible()
        page.keyboard.press("Tab")
        expect(inner).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".tree .tree .tree li")).to_have_count(3)
        expect(page.locator("#inside")).to_contain_text(f"{HOSTILE}.txt")
        page.keyboard.press("Enter")
        expect(page.locator(".tree .tree .tree")).to_be_hidden()


def test_more_of_a_folder_is_added_below(browser: Browser, site: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgmt.web.views.LISTED", 2)
    with visiting(browser, site) as (page, _):
        page.goto("/search?q=IMG_0")
        page.get_by_role("link", name="lisbon/day 1/IMG_0.jpg").click()
        leaves = page.locator("#inside .leaf")
        expect(leaves).to_have_count(2)
        page.get_by_role("link", name="More in this folder").click()
        expect(leaves).to_have_count(3)


def test_from_a_month_to_a_failed_operation_to_its_command(browser: Browser, site: Visitor, mgmt: Program) -> None:
    with visiting(browser, site) as (page, _):
        page.locator("svg.chart a").last.click()
        page.wait_for_url("**/operations?month=*")
        page.get_by_label("Status").select_option("failed")
        page.get_by_label("Type").select_option("verify")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="verify").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_contain_text("is missing from the store")
        ((failed,),) = mgmt.records.rows("SELECT operation_id FROM operations WHERE operation_type = 'verify'")
        page.get_by_role("button", name="Copy").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".command button")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == f"mgmt retry {failed}"


def test_everything_works_without_scripts(browser: Browser, site: Visitor) -> None:
    with visiting(browser, site, scripts=False) as (page, _):
        page.get_by_role("searchbox").fill("isbon")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="lisbon.tar.gz").first.click()
        for name in ("lisbon/", "day 1/"):
            page.locator("summary", has_text=name).click()
            page.get_by_role("link", name="Open this folder").first.click()
        expect(page.locator("#inside")).to_contain_text("IMG_2.jpg")
        expect(page.locator("[aria-current=page]").last).to_have_text("day 1")


def test_the_end_of_the_server_is_said(browser: Browser, mgmt: Program) -> None:
    with serving(mgmt.records.url) as site:
        context = browser.new_context()
        page = context.new_page()
        page.goto(site.guard.url)
    page.get_by_role("searchbox").fill("IMG")
    expect(page.locator("#typed")).to_contain_text("Is mgmt browse still running?")
    context.close()


OTHER_SITE = """<!doctype html><img src="{home}archives"><iframe src="{home}"></iframe>
<script src="{home}parts/search?q=IMG"></script><script>
fetch("{home}archives", {{mode: "no-cors", credentials: "include"}});
fetch("{home}", {{mode: "no-cors", method: "POST", credentials: "include"}});
</script><a href="{home}archives">follow</a>"""


def test_another_site_sees_nothing(browser: Browser, site: Visitor) -> None:
    """Even in a browser that has come in."""
    home = f"http://127.0.0.1:{site.server.port}/"
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.guard.url)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer) if answer.url.startswith(home) else None)
    page.route(
        "http://other.example/",
        lambda route: route.fulfill(body=OTHER_SITE.format(home=home), content_type="text/html"),
    )
    page.goto("http://other.example/", wait_until="networkidle")
    with page.expect_response(
        lambda answer: answer.request.is_navigation_request() and answer.url == f"{home}archives"
    ):
        page.get_by_role("link", name="follow").click()
    expect(page.get_by_role("main")).to_contain_text("Another site has led here")
    assert answers
    assert {answer.status for answer in answers} <= {403, 405}
    context.close()
