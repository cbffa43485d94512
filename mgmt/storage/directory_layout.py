"""The layout of a directory store: the paths and contents of its own files, and a walk over its objects.

An object is a plain file at its key. Uploads in progress, and what a file cannot hold, are in the folder `.mgmt` of the
store: `uploads/ID` (the data of an upload), `uploads/ID.json` (its key), `objects/SHA256-OF-KEY.json` (the metadata of
an object, valid while the size in it is that of the file), `anchors/NAME` and `history/NAME` (kept for good).
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from stat import S_ISREG
from typing import Any

from mgmt.storage.beneath import open_parent
from mgmt.storage.keys import OWN, is_key
from mgmt.storage.store import StoredObject


def described(key: str, status: os.stat_result, metadata: Mapping[str, str]) -> StoredObject:
    """The object whose file has this `status`."""
    return StoredObject(
        key=key,
        size=status.st_size,
        etag=etag_of(status),
        last_modified=moment(status),
        metadata=metadata,
    )


def moment(status: os.stat_result) -> datetime | None:
    """When the file was modified; None outside the years that a datetime can hold."""
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def etag_of(status: os.stat_result) -> str:
    """Distinguishes versions of a file. It does not use the inode: on exFAT it differs after each mount."""
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"


def note_path(key: str) -> str:
    """Where the metadata of an object is."""
    return f"{OWN}/objects/{sha256(key.encode()).hexdigest()}.json"


def upload_path(upload_id: str) -> str:
    """Where the data of an upload is; its key is beside it, in a file whose name also ends with `.json`."""
    return f"{OWN}/uploads/{upload_id}"


def put_id(key: str) -> str:
    """The upload id of a small object. A killed `put` is never resumed, so the next one must find it by its key."""
    return sha256(key.encode()).hexdigest()[:32]


def noted(size: int, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The content of the file at `note_path`."""
    return {"size": size, "metadata": dict(metadata)}


def parsed(text: bytes) -> dict[str, Any]:
    """The content of one of these JSON files; empty for one that a power cut left incomplete."""
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return found


def walk(folder: int, path: str, prefix: str) -> Iterator[StoredObject]:
    """Files below `folder`, whose key is `path`, in the order of the bytes of their keys."""
    with os.scandir(folder) as entries:
        names = [entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries]
    for name in sorted(names, key=os.fsencode):
        key = path + name
        if name.endswith("/"):
            if key.casefold() != OWN + "/" and (key.startswith(prefix) or prefix.startswith(key)):
                with suppress(FileNotFoundError), open_parent(folder, name + ".") as (inner, _):
                    yield from walk(inner, key, prefix)
        elif key.startswith(prefix) and is_key(key):
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if S_ISREG(status.st_mode):
                    yield described(key, status, {})
