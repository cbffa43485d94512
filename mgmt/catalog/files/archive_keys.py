"""The keys of archives for completion, which waits for no ORM: one statement by the sqlite3 module alone."""

import os
import sqlite3
from contextlib import closing
from urllib.parse import quote

from mgmt.catalog.db.revision import HEAD
from mgmt.catalog.records.enums import FileStatus, Location

_SCHEME = "sqlite:///"

_KEYS = f"""
SELECT path, path_bytes FROM files
WHERE location = '{Location.S3}' AND status = '{FileStatus.COMPLETED}' AND path >= :first AND path < :end
AND (SELECT version_num FROM alembic_version) = '{HEAD}'
ORDER BY path, id LIMIT :limit
"""  # noqa: S608 - of constants
_BEYOND = b""
"""SQLite sorts every blob after every text."""


def archive_keys(url: str, prefix: str, limit: int) -> list[str] | None:
    """The first `limit` keys of stored archives that begin with `prefix`, as `FileLists.list_files` sorts them.

    None if only that can tell: the catalog at `url` is not an SQLite file, or is not one that can be read here, or
    `prefix` is not ASCII. There is no key in a catalog of another schema. Nothing is created or changed.
    """
    path = url.removeprefix(_SCHEME)
    if not url.startswith(f"{_SCHEME}/") or not path.isprintable() or "?" in path or not prefix.isascii():
        return None
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else _BEYOND
    try:
        opened = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=rw", uri=True, timeout=0)
        with closing(opened):
            opened.execute("PRAGMA query_only=ON")  # mode=ro would leave the -wal and -shm files behind
            found = opened.execute(_KEYS, {"first": prefix, "end": end, "limit": limit})
            return [text if raw is None else raw.decode("utf-8", "surrogateescape") for text, raw in found]
    except sqlite3.Error:
        return None
