"""The tags of objects: what S3 accepts."""

import unicodedata
from collections.abc import Mapping

from mgmt.errors import ConfigurationError

MOST, LONGEST_KEY, LONGEST_VALUE = 10, 128, 256
"""S3 user guide, "Categorizing your storage using tags": tags of an object, and Unicode characters of a tag."""

_PLAIN = frozenset("+-=._:/@")
"""What a tag may contain besides letters, digits and spaces."""


def check_object_tags(tags: Mapping[str, str]) -> None:
    """Raise ConfigurationError for tags that S3 refuses to store with an object."""
    if len(tags) > MOST:
        raise ConfigurationError(
            f"S3 stores at most {MOST} tags with an object, not {len(tags)}", next_step="mgmt tag NAME -KEY"
        )
    for key, value in tags.items():
        shown = f"tag {key}={value}" if len(key) + len(value) < 80 else f"tag {key[:40]}..."
        if key.lower().startswith("aws:"):
            raise ConfigurationError(f"{shown}: S3 reserves keys that begin with aws:", next_step="use another key")
        for what, text, longest in (("key", key, LONGEST_KEY), ("value", value, LONGEST_VALUE)):
            if len(text) > longest:
                raise ConfigurationError(
                    f"{shown}: its {what} has {len(text)} characters, and S3 stores at most {longest}",
                    next_step=f"shorten the {what}",
                )
            if strange := next((each for each in text if not _is_allowed(each)), None):
                raise ConfigurationError(
                    f"{shown}: S3 refuses {strange!r} in a {what}",
                    next_step="use letters, digits, spaces and + - = . _ : / @",
                )
    if "" in tags:
        raise ConfigurationError("a tag needs a key", next_step="KEY=VALUE")


def _is_allowed(character: str) -> bool:
    return character in _PLAIN or unicodedata.category(character)[0] in "LNZ"
