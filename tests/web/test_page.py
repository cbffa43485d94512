"""A page is whole, and nothing in it runs but what mgmt has put there."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from importlib import resources

import pytest

from mgmt.web.embedded import asset, json_text, policy
from mgmt.web.environment import environment
from mgmt.web.page import Page, render
from tests.assets.naughty_strings import NAUGHTY

ASSETS = sorted(each.name for each in resources.files("mgmt.web").joinpath("assets").iterdir())
TEMPLATES = sorted(each.name for each in resources.files("mgmt.web").joinpath("pages").iterdir())


def test_the_policy_allows_the_style_sheet_of_the_page_and_nothing_else() -> None:
    page = render(Page(template="base.html", title="A title"))
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    found = re.search('http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert found is not None
    assert found[1].replace("&#39;", "'").split("; ") == [
        "default-src 'none'", f"style-src 'sha256-{digest}'", "script-src 'none'", "img-src data:", "base-uri 'none'",
        "form-action 'none'",
    ]  # fmt: skip
    assert "unsafe" not in page


def test_a_served_page_may_send_its_forms_to_its_server() -> None:
    assert "form-action 'self'" in policy("", "", {"form-action": "'self'"})


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_ends_no_element_and_is_the_same_in_every_browser(name: str) -> None:
    """A browser hashes what it has parsed: without carriage returns, and up to an end tag."""
    assert not re.search("\r|</(?:style|script)|<!--", asset(name), re.IGNORECASE)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_nothing_that_the_policy_forbids(name: str) -> None:
    source = resources.files("mgmt.web").joinpath("pages", name).read_text("utf-8")
    assert not re.search(r"\son[a-z]+=|\sstyle=|javascript:|\| *safe\b|autoescape false", source, re.IGNORECASE)


def test_data_is_no_markup_whatever_it_is() -> None:
    names = [*NAUGHTY, "</script><script>x</script>", "<!--<script>", "\u2028\u2029", "half \ud800", "&lt;"]
    text = json_text(names)
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", text)
    assert json.loads(text) == names


def test_names_are_escaped_and_what_is_not_visible_is_shown() -> None:
    shown = environment().from_string("{{ name }}").render(name="<b>\u202egnp\n'\"&")
    assert shown == "&lt;b&gt;\\u202egnp\\x0a&#39;&#34;&amp;"
