"""A page from a template: everything is escaped, and a policy lets nothing run but what mgmt has put there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from mgmt import __version__
from mgmt.web.embedded import asset, json_text, policy
from mgmt.web.environment import environment

STYLE = "style.css"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page is made of."""

    template: str
    """In mgmt/web/pages; it extends base.html."""
    title: str
    scripts: tuple[str, ...] = ()
    """In mgmt/web/assets; they run in this order, when the document is complete."""
    data: Mapping[str, object] = field(default_factory=dict)
    """What the scripts read, as JSON, by the id of its element."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """What the policy allows beyond the page itself, such as `{"form-action": "'self'"}` for a served page."""


def render(page: Page, **values: object) -> str:
    """The page as one HTML document, from the `values` that its template shows."""
    style = asset(STYLE)
    script = "\n".join(map(asset, page.scripts))
    return (
        environment()
        .get_template(page.template)
        .render(
            values,
            title=page.title,
            version=__version__,
            policy=policy(style, script, page.sources),
            style=Markup(style),  # noqa: S704 - a file of mgmt
            script=Markup(script),  # noqa: S704 - files of mgmt
            data={name: json_text(value) for name, value in page.data.items()},
        )
    )
