"""The browser of the tests notices what a page must not do; without that, its silence would prove nothing."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mgmt.web.page import Page, render
from tests.web.browser import faults, opened


@pytest.mark.parametrize(
    "added",
    [
        "<script>document.title = 'ran'</script>",
        "<img src='http://127.0.0.1:9/x.png' alt=''>",
        "<p style='color: red'>inline</p>",
        "<p onclick='1'>handler</p>",
        "<link rel='stylesheet' href='http://127.0.0.1:9/x.css'>",
        "<iframe src='http://127.0.0.1:9/' title='x'></iframe>",
    ],
)
def test_what_the_policy_forbids_is_noticed_and_does_not_run(browser: Browser, tmp_path: Path, added: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(render(Page(template="base.html", title="a page")).replace("<footer>", f"{added}<footer>"), "utf-8")
    titles = []
    with pytest.raises(AssertionError), opened(browser, file) as page:
        titles.append(page.title())
    assert titles == ["a page"]


def test_a_fault_is_found(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<!doctype html><html><title>x</title><button></button></html>", "utf-8")
    with opened(browser, file) as page:
        assert [each.partition(":")[0] for each in faults(page)] == ["button-name", "html-has-lang"]


def test_a_page_without_anything_has_no_fault(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(render(Page(template="base.html", title="a page", scripts=("page.js",))), "utf-8")
    with opened(browser, file) as page:
        assert faults(page) == []
