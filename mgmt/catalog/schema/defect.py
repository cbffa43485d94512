"""What is wrong with a catalog."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong with a catalog."""

    message: str
    remedy: str
    """What to type next: a command, or a statement of SQL."""
    object: Any = None
    """The part of the schema that is missing, if it can be created again."""
