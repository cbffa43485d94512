"""The enums of the records. Their columns accept no other values."""

from enum import StrEnum
from typing import NamedTuple, TypeVar

from mgmt.errors import ConfigurationError

Word = TypeVar("Word", bound=StrEnum)


def one_of(enum: type[Word], word: str) -> Word:
    """`word`, which may be plain text, as a member of `enum`. Raises ConfigurationError for any other word."""
    try:
        return enum(word)
    except ValueError:
        raise ConfigurationError(f"unknown {enum.__name__} {word!r}: use one of {', '.join(enum)}") from None


class Status(StrEnum):
    """Status of an operation. All but `pending` and `running` are terminal; a finished operation never changes."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """The operation has finished."""
        return self not in LIVE


LIVE = (Status.PENDING, Status.RUNNING)
"""The statuses of an operation that has not finished."""

LIVE_SQL = "(" + ", ".join(f"'{status.value}'" for status in LIVE) + ")"
"""The same as a list in SQL."""


class FileStatus(StrEnum):
    """Status of a file."""

    PENDING = "pending"
    UPLOADING = "uploading"
    COMPLETED = "completed"
    FAILED = "failed"
    DELETED = "deleted"


class Location(StrEnum):
    """Where a file is. `s3` means in a store of any kind."""

    LOCAL = "local"
    S3 = "s3"
    COMPLETED = "completed"


class Scope(StrEnum):
    """Where to search."""

    LOCAL = "local"
    S3 = "s3"
    GLOBAL = "global"


class Role(StrEnum):
    """The role of a file in an operation."""

    SOURCE = "source"
    ARCHIVE = "archive"
    INDEX = "index"
    COMPLETED = "completed"
    RESULT = "result"


class Place(NamedTuple):
    """The unique key of a file. `where` is the host of a local or completed file, or the URL of an archive's store."""

    location: Location
    where: str
    path: str
