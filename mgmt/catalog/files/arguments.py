"""Checks of the arguments of the Python API: each raises ConfigurationError, which names the argument."""

from collections.abc import Collection, Mapping
from datetime import datetime
from types import UnionType

from mgmt.errors import ConfigurationError


def require(name: str, value: object, kind: type | UnionType, what: str) -> None:
    """`value` is a `kind`, described as `what`."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigurationError(f"{name} must be {what}, not {value!r}")


def require_text(**values: object) -> None:
    """Each is None or text."""
    for name, value in values.items():
        require(name, value, str | None, "text")


def require_moments(**values: object) -> None:
    """Each is None or a datetime."""
    for name, value in values.items():
        require(name, value, datetime | None, "a datetime")


def require_limit(limit: object) -> None:
    """`limit` is None, or a number that is not negative."""
    require("limit", limit, int | None, "a number")
    if isinstance(limit, int) and limit < 0:
        raise ConfigurationError(f"limit must not be negative, but is {limit}")


def require_tags(tags: object) -> None:
    """`tags` are texts by name."""
    if not isinstance(tags, Mapping) or not all(isinstance(each, str) for pair in tags.items() for each in pair):
        raise ConfigurationError(f"tags must be texts by name, not {tags!r}")


def require_known(given: Mapping[str, object], known: Collection[str]) -> None:
    """Every keyword of `given` is `known`."""
    for name in given:
        if name not in known:
            raise ConfigurationError(f"there is no keyword {name!r}: use one of {', '.join(sorted(known))}")
