"""The `[[rules]]` of the configuration file: which storage class a new archive gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NoReturn

from mgmt.config import RULES, STORAGE_CLASSES, Settings, parse_size
from mgmt.errors import ConfigurationError

KEYS = ("match", "larger_than", "smaller_than", "storage_class")
_NEXT = "see docs/guide.md, Storage classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRule:
    """One rule. A target has to fit all that it states; sizes are bytes of content, before it is compressed."""

    number: int
    storage_class: str
    match: str | None = None
    """A pattern for the name of the target, as a shell has it."""
    larger_than: int | None = None
    smaller_than: int | None = None

    def fits(self, name: str, size: int) -> bool:
        """Whether it is for a target of this name and size."""
        return (
            (self.match is None or fnmatchcase(name, self.match))
            and (self.larger_than is None or size > self.larger_than)
            and (self.smaller_than is None or size < self.smaller_than)
        )

    def __str__(self) -> str:
        stated = {"match": self.match, "larger_than": self.larger_than, "smaller_than": self.smaller_than}
        conditions = ", ".join(f"{name} {value}" for name, value in stated.items() if value is not None)
        return f"rule {self.number} ({conditions or 'all'})"


def class_rules(settings: Settings) -> tuple[ClassRule, ...]:
    """The rules of the configuration file, in its order. Raises ConfigurationError, which names the rule."""
    tables, origin = settings.class_rules, settings.origins.get(RULES, "")
    if tables is None:
        return ()
    if not isinstance(tables, list) or not all(isinstance(each, Mapping) for each in tables):
        raise ConfigurationError(f"rules ({origin}): must be written as [[rules]]", next_step=_NEXT)
    return tuple(_rule(table, number, origin) for number, table in enumerate(tables, 1))


def decide(rules: Sequence[ClassRule], name: str, size: int) -> ClassRule | None:
    """The first rule that is for a target of this name and size."""
    return next((each for each in rules if each.fits(name, size)), None)


def _rule(table: Mapping[str, Any], number: int, origin: str) -> ClassRule:
    def refuse(why: str) -> NoReturn:
        raise ConfigurationError(f"rule {number} ({origin}): {why}", next_step=_NEXT)

    def size(key: str) -> int | None:
        value = table.get(key)
        try:
            found = value if value is None or isinstance(value, int) else parse_size(value)
        except (ValueError, AttributeError):
            found = -1
        if isinstance(value, bool) or (found is not None and found < 0):
            refuse(f'{key!r} must be a size such as "1 GiB"')
        return found

    if unknown := [each for each in table if each not in KEYS]:
        refuse(f"there is no {unknown[0]!r}; use {', '.join(KEYS)}")
    storage_class, match = table.get("storage_class"), table.get("match")
    if storage_class not in STORAGE_CLASSES:
        refuse(f"'storage_class' must be one of {', '.join(STORAGE_CLASSES)}")
    if match is not None and not (isinstance(match, str) and match):
        refuse("'match' must be a pattern such as \"*.mov\"")
    larger, smaller = size("larger_than"), size("smaller_than")
    if larger is not None and smaller is not None and larger >= smaller - 1:
        refuse("nothing is larger than 'larger_than' and smaller than 'smaller_than'")
    return ClassRule(number=number, storage_class=storage_class, match=match, larger_than=larger, smaller_than=smaller)
