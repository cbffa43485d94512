"""The choices that settings, options, archives and records share: each word and number once."""

from enum import StrEnum

MIN_PART_SIZE = 5 << 20
DEFAULT_PART_SIZE = 8 << 20
"""Twice as many requests as with 16 MiB cost no measurable CPU time, and half the memory."""
MAX_PART_SIZE = 5 << 30

MOST_JOBS = 6
"""Small targets that one command may upload at a time. Each takes up to 10 MiB of memory."""


SHELLS = ("bash", "zsh", "fish")
"""The shells that can complete words of mgmt."""


class Level(StrEnum):
    """How hard an archive is compressed."""

    FAST = "fast"
    BALANCED = "balanced"


class Proof(StrEnum):
    """How an archive is proven: AUTO is the server's checksum where it can be trusted, or else reading back."""

    AUTO = "auto"
    SERVER_CHECKSUM = "server-checksum"
    READ_BACK = "read-back"


class OnConflict(StrEnum):
    """What to do if a key or a name is taken."""

    ERROR = "error"
    RENAME = "rename"
    SKIP = "skip"


class StorageClass(StrEnum):
    """The storage classes of S3 that an archive can be stored in."""

    STANDARD = "STANDARD"
    REDUCED_REDUNDANCY = "REDUCED_REDUNDANCY"
    STANDARD_IA = "STANDARD_IA"
    ONEZONE_IA = "ONEZONE_IA"
    INTELLIGENT_TIERING = "INTELLIGENT_TIERING"
    GLACIER_IR = "GLACIER_IR"
    GLACIER = "GLACIER"
    DEEP_ARCHIVE = "DEEP_ARCHIVE"


class Tier(StrEnum):
    """How fast a frozen archive is thawed, and at what price."""

    STANDARD = "Standard"
    BULK = "Bulk"
    EXPEDITED = "Expedited"


class LockMode(StrEnum):
    """Who can end a retention before its time: whoever has s3:BypassGovernanceRetention, or nobody."""

    GOVERNANCE = "GOVERNANCE"
    COMPLIANCE = "COMPLIANCE"


FROZEN_CLASSES = frozenset({StorageClass.GLACIER, StorageClass.DEEP_ARCHIVE})
"""Objects in these classes must be restored before they can be read."""

NO_XATTRS = "xattrs:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""What is recorded of the extended attributes of a content that has none: the sha256 of nothing (docs/format.md)."""

WORK = ("upload", "download", "verify", "free", "delete", "restore", "class", "tag", "lock", "undelete")
"""The operations that can be retried: those that can be requested (requests.py)."""

LATELY_DAYS = 30
"""How long a failure needs attention that nothing was tried after."""

UNVERIFIED_DAYS = 90
"""After how many days without a verification reports and metrics count an archive, unless the user says so."""

ARCHIVES_OF_A_PAGE = 10_000
"""Archives that a page lists, unless the user says so."""
