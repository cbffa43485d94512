"""Changes a catalog behind mgmt's back, without the triggers that refuse it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

REOPENED = "status = 'running', completed_at = NULL, sha256 = NULL, seal = NULL"
"""An SQL assignment that makes a finished operation a running one."""


@contextmanager
def behind(catalog: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection to an SQLite catalog without triggers; its changes are committed at the end."""
    with closing(sqlite3.connect(catalog)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, made in triggers:
            connection.execute(made)
