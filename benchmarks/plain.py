"""The peer of mgmt's schema: plain SQLite with a row for each member, and the full path in each row."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.collection import archive
from mgmt.archive.member import Member

# The same facts as in mgmt, in obvious types. Paths are looked up, so they have an index.
SCHEMA = """
CREATE TABLE archives (id INTEGER PRIMARY KEY, key TEXT NOT NULL);
CREATE TABLE members (
    id INTEGER PRIMARY KEY,
    archive_id INTEGER NOT NULL REFERENCES archives (id),
    path TEXT NOT NULL,
    type TEXT NOT NULL,
    mode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    header_offset INTEGER NOT NULL,
    data_offset INTEGER NOT NULL,
    sha256 TEXT,
    link TEXT
);
CREATE INDEX members_path ON members (path);
"""
COLUMNS = "archive_id, path, type, mode, size, mtime_ns, header_offset, data_offset, sha256, link"


def add(path: Path, first: int, last: int, count: int) -> None:
    """Add the archives from `first` up to `last` of the collection, each with `count` members."""
    new = not path.exists()
    with closing(sqlite3.connect(path)) as connection:
        if new:
            connection.executescript(SCHEMA)
        for number in range(first, last):
            with connection:
                id_ = connection.execute("INSERT INTO archives (key) VALUES (?)", (f"{number}.tar.gz",)).lastrowid
                connection.executemany(
                    f"INSERT INTO members ({COLUMNS}) VALUES ({', '.join('?' * 10)})",
                    (_row(id_, member) for member in archive(number, count)),
                )


def _row(archive_id: int | None, member: Member) -> tuple[object, ...]:
    return (
        archive_id,
        member.path,
        member.type,
        member.mode,
        member.size,
        member.mtime_ns,
        member.header_offset,
        member.data_offset,
        member.sha256.hex() if member.sha256 else None,
        member.link,
    )


def search(path: Path, keyword: str) -> float:
    """Seconds to find the newest 50 members with `keyword` in their path, after one run to read them into memory."""
    with closing(sqlite3.connect(path)) as connection:
        for _ in range(2):
            began = time.perf_counter()
            query = "SELECT * FROM members WHERE path LIKE ? ORDER BY id DESC LIMIT 50"
            connection.execute(query, (f"%{keyword}%",)).fetchall()
            seconds = time.perf_counter() - began
    return seconds


def insert(path: Path, schema: Sequence[str], statements: Sequence[tuple[str, Sequence[tuple[object, ...]]]]) -> float:
    """Seconds to insert rows into a new database of this schema, in one transaction, with the PRAGMAs of mgmt."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
        for statement in schema:
            connection.execute(statement)
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for statement, rows in statements:
            connection.executemany(statement, rows)
        connection.execute("COMMIT")
        return time.perf_counter() - began
