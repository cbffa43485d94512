"""Screenshots of the page for docs/images: `python -m demo.screenshots`. They show a studio that does not exist.

It needs the development packages, and a Chromium; see CONTRIBUTING.md.
"""

import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from demo.browsed import fill
from demo.studio import studio
from mgmt.web.report import report_page
from tests.web.browser import FOUND, NAMES, opened, started
from tests.web.visitor import serving

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTHS = {390: 844, 1280: 1560, 1920: 1400}
"""Of the window in pixels, and its height."""
COLOURS = 256
LARGEST = 150_000
"""Bytes of an image in the repository."""


def main() -> int:
    """Write them all; return the exit status."""
    if FOUND is None:
        print(f"no browser: install one of {', '.join(NAMES)}", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, started() as browser:
        page = Path(folder) / "report.html"
        page.write_text(report_page(*studio()), "utf-8")
        catalog = f"sqlite:///{folder}/catalog.db"
        fill(catalog)
        for name, image in chain(_taken(browser, page), _browsed(browser, catalog)):
            size = _save(image, IMAGES / f"{name}.png")
            print(f"{name}.png  {size // 1000} kB")
            if size > LARGEST:
                return 1
    return 0


def _taken(browser: Browser, file: Path) -> Iterator[tuple[str, bytes]]:
    for width, height in WIDTHS.items():
        for scheme in ("light", "dark"):
            with opened(browser, file, width=width, scheme=scheme) as page:
                page.set_viewport_size({"width": width, "height": height})
                yield f"report-{width}-{scheme}", page.screenshot()
    with opened(browser, file, width=1280, scheme="dark") as page:
        page.locator('svg.chart a[data-month="2025-02"]').last.click()
        page.locator("figure.full").scroll_into_view_if_needed()
        yield "report-month", page.screenshot()


def _browsed(browser: Browser, catalog: str) -> Iterator[tuple[str, bytes]]:
    """What `mgmt browse` shows of this catalog."""
    with serving(catalog) as site:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page = context.new_page()
        page.goto(site.guard.url)
        page.get_by_role("link", name="Archives", exact=True).click()
        page.get_by_role("searchbox").press_sequentially("paper")
        page.locator("#typed table").first.wait_for()
        yield "browse-search", page.screenshot()
        page.get_by_role("searchbox").press("Escape")
        page.get_by_role("link", name="paper-lanterns").first.click()
        page.locator("summary").first.click()
        page.locator(".tree .tree summary").first.click()
        page.locator(".tree .tree .tree").wait_for()
        page.emulate_media(color_scheme="dark")
        yield "browse-archive", page.screenshot()
        context.close()


def _save(taken: bytes, path: Path) -> int:
    """Write the image with few colours, and return its size in bytes."""
    image = Image.open(BytesIO(taken)).convert("RGB")
    image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
