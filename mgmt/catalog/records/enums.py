"""The words that records use, and nothing else is stored in their columns."""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """How an operation stands. All but the first two are terminal: what has ended never changes."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """The operation has ended."""
        return self not in LIVE


LIVE = (Status.PENDING, Status.RUNNING)


class FileStatus(StrEnum):
    """How a file stands."""

    PENDING = "pending"
    UPLOADING = "uploading"
    COMPLETED = "completed"
    FAILED = "failed"
    DELETED = "deleted"


class Location(StrEnum):
    """Where a file is. `s3` means in the store, whichever store that is."""

    LOCAL = "local"
    S3 = "s3"
    COMPLETED = "completed"


class Scope(StrEnum):
    """Where a search looked."""

    LOCAL = "local"
    S3 = "s3"
    GLOBAL = "global"


class Role(StrEnum):
    """What a file was to an operation."""

    SOURCE = "source"
    ARCHIVE = "archive"
    INDEX = "index"
    COMPLETED = "completed"
    RESULT = "result"


class Place(NamedTuple):
    """What a file is unique by: `where` is the host of a local or completed file, the URL of an archive's store."""

    location: Location
    where: str
    path: str
