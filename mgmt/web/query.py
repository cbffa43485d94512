"""The fields of an address, and the numbers in it."""

import re
from urllib.parse import parse_qsl

from mgmt.errors import ConfigurationError

MOST_FIELDS = 16


class Query:
    """The fields of an address. Each method raises ConfigurationError for a value that its field cannot have."""

    def __init__(self, text: str) -> None:
        """Raises ConfigurationError for too many fields, and for NUL, which neither names nor databases can have."""
        try:
            pairs = parse_qsl(text, errors="surrogateescape", max_num_fields=MOST_FIELDS)
        except ValueError:
            raise ConfigurationError("this address has too many fields") from None
        if any("\0" in word for pair in pairs for word in pair):
            raise ConfigurationError("this address contains NUL")
        self._fields = dict(reversed(pairs))

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> str:
        """The text of the field; "" if it is missing."""
        return self._fields.get(name, "")

    def number(self, name: str) -> int | None:
        """The number of a record; None if it is missing or empty."""
        return number(self.text(name)) if self.text(name) else None


def number(text: str) -> int:
    """A number of a record. Raises ConfigurationError if `text` is none."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ConfigurationError(f"{text!r} is not the number of a record")
    return int(text)
