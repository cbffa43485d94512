"""What a page contains besides its markup: a style sheet, scripts and data, and the policy that allows just these."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib import resources

from markupsafe import Markup

_HIDDEN = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""What could end a script element, begin a comment in it, or end a line of a script; JSON has an escape for each."""

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, or a byte that is not UTF-8: only an escape can carry it."""


@cache
def asset(name: str) -> str:
    """The text of a file in mgmt/web/assets."""
    return resources.files("mgmt.web").joinpath("assets", name).read_text("utf-8")


def policy(style: str, script: str, sources: Mapping[str, str]) -> str:
    """The Content-Security-Policy of a page with this style sheet and this script, and nothing else."""
    directives = {
        "default-src": "'none'",
        "style-src": f"'sha256-{_hash(style)}'",
        "script-src": f"'sha256-{_hash(script)}'" if script else "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in {**directives, **sources}.items())


def json_text(value: object) -> Markup:
    """`value` as JSON that is the text of a script element, whatever the names in it are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escaped in _HIDDEN.items():
        text = text.replace(character, escaped)
    text = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return Markup(text)  # noqa: S704 - nothing in it is markup any more


def within(budget: int, rows: Iterable[list[object]]) -> Iterator[list[object]]:
    """The first of the rows, as many as take up to `budget` bytes as JSON."""
    for row in rows:
        budget -= len(json_text(row).encode()) + 1
        if budget < 0:
            return
        yield row


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
