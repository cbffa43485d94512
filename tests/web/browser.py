"""A real browser, headless and without a network, that holds every page to what a page of mgmt promises."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from playwright.sync_api import Browser, Dialog, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What Debian, others and Google call it."""

FOUND = next(filter(None, map(shutil.which, NAMES)), None)

_ARGUMENTS = (
    "--no-sandbox",  # root has none, and the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)


@contextmanager
def started() -> Iterator[Browser]:
    """A browser, which is closed in the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=FOUND, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """What a page did that it should not have done."""

    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    """On the console, which has violations of the policy as well; exceptions, and dialogs."""

    def watch(self, page: Page) -> None:
        """Note all that `page` does from now on."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Dialog) -> None:
        self.messages.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def opened(
    browser: Browser, file: Path, *, width: int = 1280, scheme: str = "light", scripts: bool = True
) -> Iterator[Page]:
    """The page in `file`, without a network. At the end it has made no request beyond that for itself, and no noise."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=scripts,
        reduced_motion="reduce",
        offline=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    try:
        page = context.new_page()
        page.set_default_timeout(5000)
        watched = Watched()
        watched.watch(page)
        page.goto(file.as_uri())
        yield page
        assert [url for url in watched.requests if not url.startswith("data:")] == [file.as_uri()]
        assert watched.messages == []
    finally:
        context.close()


def faults(page: Page, *rules: str) -> list[str]:
    """The serious and critical faults that axe-core finds (WCAG 2.2 A and AA, and its best practices).

    With `rules`, only those of these, which takes less time.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("options => axe.run(options)", options)["violations"]
    return [
        f"{each['id']}: {node['html']}: {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
