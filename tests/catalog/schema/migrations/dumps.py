"""What an SQLite catalog holds, without mgmt."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mgmt.catalog.records.metadata import METADATA

ROOT = Path(__file__).parents[4]
"""The repository."""

WHERE_MEMBERS_ARE = {"member_ranges": [(2, 1, 4)], "directory_archives": [(1, 2), (2, 2)]}
"""The rows that 0003 computes from existing ones; see old_catalogs.py."""
WORKED_OUT = {
    ("operations", "sha256"),
    ("operations", "seal"),
    ("files", "archive_id"),
    ("files", "kept"),
    ("uploads", "kept"),
}
"""The values that 0005 and 0007 add to existing rows."""


def contents(path: str) -> dict[str, list[dict[str, object]]]:
    """Every value of every row by column, without NULLs and what later revisions compute."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = lambda cursor, row: {
            column[0]: value for column, value in zip(cursor.description, row, strict=True) if value is not None
        }
        names = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        records = [name for name in names if name in METADATA.tables.keys() - WHERE_MEMBERS_ARE.keys() - {"seals"}]
        found = {}
        for name in records:
            rows = connection.execute(f"SELECT * FROM {name}").fetchall()
            facts = [{column: row[column] for column in row if (name, column) not in WORKED_OUT} for row in rows]
            if facts:
                found[name] = sorted(facts, key=repr)
        return found


def objects(path: str) -> dict[str, str]:
    """The SQL of every table and index."""
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in made}
