"""Changing a catalog behind mgmt's back, as nobody should: without the triggers that refuse it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

REOPENED = "status = 'running', completed_at = NULL, sha256 = NULL, seal = NULL"
"""What makes an operation one that has not ended."""


@contextmanager
def behind(catalog: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection to an SQLite catalog that may do anything; what it has done is committed at the end."""
    with closing(sqlite3.connect(catalog)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, made in triggers:
            connection.execute(made)
