"""What a client of `mgmt browse` has sent."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client has sent, not yet checked. Header names are in lower case; of each, all values in order."""

    method: str
    target: str
    headers: Mapping[str, list[str]]

    def one(self, name: str) -> str | None:
        """The value of a header. None if it is missing; an empty text, which nothing accepts, if it stands twice."""
        found = self.headers.get(name, [])
        return found[0] if len(found) == 1 else "" if found else None
