"""A browser for all tests of pages, and the page of a studio that does not exist."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from demo.studio import studio
from mgmt.web.report import report_page
from tests.web.browser import FOUND, NAMES, started


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if FOUND is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt install chromium)")
    with started() as running:
        yield running


@pytest.fixture(scope="session")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the studio, as a file."""
    return _written(tmp_path_factory, months=35)


@pytest.fixture(scope="session")
def short_report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a few months: axe-core looks at each element."""
    return _written(tmp_path_factory, months=2)


def _written(folders: pytest.TempPathFactory, months: int) -> Path:
    file = folders.mktemp("page") / "report.html"
    file.write_text(report_page(*studio(months)), "utf-8")
    return file
