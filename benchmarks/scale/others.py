"""Adds nine operations of other types for each upload of a filled catalog: a million for 100,000 archives.

Some have failed. They have no hashes, so the history of such a catalog is not sound.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing

from mgmt.catalog.db.engine import parse

TYPES = ("search", "verify", "download", "status", "tag", "restore", "free", "verify", "search")

_COLUMNS = 'target_path, target_name, started_at, completed_at, result_path, metadata, "user", command_args, host'


def add_others(url: str, uploads: int) -> None:
    """Add the operations to a catalog whose first `uploads` operations are uploads."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(parse(url).database))) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            _add(connection.execute, "lower(hex(randomblob(16)))", uploads)
        return
    import psycopg

    with psycopg.connect(url, autocommit=True) as server:
        server.execute("SET session_replication_role = replica")
        _add(lambda statement: server.execute(statement.encode()), "CAST(gen_random_uuid() AS text)", uploads)
        server.execute("VACUUM (ANALYZE)")


def _add(run: Callable[[str], object], new_id: str, uploads: int) -> None:
    status = "CASE WHEN seq % 25 = 0 THEN 'failed' WHEN seq % 49 = 0 THEN 'cancelled' ELSE 'success' END"
    message = "CASE WHEN seq % 25 = 0 THEN target_path || ': Permission denied' END"
    for number, kind in enumerate(TYPES, 1):
        run(
            f"INSERT INTO operations (operation_id, operation_type, status, error_message, seq, {_COLUMNS})"
            f" SELECT {new_id}, '{kind}', {status}, {message}, seq + {number * uploads}, {_COLUMNS}"
            f" FROM operations WHERE seq <= {uploads}"
        )
    of_type = "SELECT operation_id{} FROM operations WHERE operation_type = '{}'"
    run(f"INSERT INTO downloads (operation_id, downloaded_size) {of_type.format(', 1000000', 'download')}")
    run(
        "INSERT INTO verifications (operation_id, checked_objects, checked_size, problems_found) "
        + of_type.format(", 1, 1000000, 0", "verify")
    )
