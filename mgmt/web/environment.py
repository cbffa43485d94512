"""The templates, and what they can do with a value."""

from datetime import UTC
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mgmt.shown import human_duration, human_size, human_time, rfc3339, safe
from mgmt.web.charts import share


@cache
def environment() -> Environment:
    """The templates and their filters. All text is escaped for HTML, and what a reader could not see is shown."""
    made = Environment(
        loader=PackageLoader("mgmt.web", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters |= {
        "size": human_size,
        "ago": human_time,
        "duration": human_duration,
        "rfc3339": rfc3339,
        "utc": lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        "number": lambda number: f"{number:,}",
        "share": share,
    }
    return made


def _visible(value: object) -> object:
    """Escape, in names, what a reader could not see, as at a terminal. Markup is mgmt's own."""
    return safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value
