"""What search and listing find."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mgmt.catalog import FileRecord, Location
from mgmt.storage import StoredObject, is_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One result: a local file, a completed copy, an archive, a member of one, or a foreign object in a store."""

    type: str
    name: str
    location: str
    path: str
    host: str | None = None
    """The host; None in a store."""
    archive: str | None = None
    size: int | None = None
    modified_at: datetime | None = None
    status: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def as_match(record: FileRecord) -> Match:
    """A record of the catalog as a result."""
    is_archive = record.location == Location.S3
    return Match(
        type="archive" if is_archive else "folder" if record.is_directory else "file",
        name=record.name,
        location=record.location,
        host=record.host,
        path=record.path,
        archive=record.s3_object_key,
        size=record.size,
        modified_at=record.modified_at,
        status=record.status,
        tags=record.tags,
    )


def from_store(stored: StoredObject) -> Match:
    """An object of a store as a result; a foreign one has a key that mgmt does not use."""
    return Match(
        type="archive" if is_key(stored.key) else "foreign",
        name=os.path.basename(stored.key.rstrip("/")),
        location=Location.S3,
        path=stored.key,
        archive=stored.key,
        size=stored.size,
        modified_at=stored.last_modified,
    )
