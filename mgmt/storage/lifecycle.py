"""The lifecycle rules of a bucket, as far as they concern what mgmt stores."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleRule:
    """One rule that is enabled."""

    name: str
    prefix: str = ""
    """Of the keys that it applies to, in the whole bucket."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Objects must have all of these."""
    larger_than: int | None = None
    smaller_than: int | None = None
    moves: Mapping[str, str] = field(default_factory=dict)
    """The storage classes that it moves objects to, and when."""
    expires: str | None = None
    """When it removes objects."""
    aborts_parts: int | None = None
    """After how many days it removes the parts of an upload that was not completed."""

    def concerns(self, prefix: str) -> bool:
        """Whether it may apply to an object below `prefix` of the bucket."""
        return prefix.startswith(self.prefix) or self.prefix.startswith(prefix)
