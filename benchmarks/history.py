"""A history of hundreds of thousands of operations and archives: ten years of a busy team."""

import random
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

KINDS = ("upload",) * 5 + ("download",) * 3 + ("search",) * 3 + ("verify", "delete", "status", "batch")
TABLES = {
    "operations": "operation_id, operation_type, target_path, target_name, started_at, completed_at, status, metadata,"
    " user, command_args, seq, host, mgmt_version",
    "uploads": "operation_id, compression_type, original_size, compressed_size, s3_object_key, store, digest",
    "downloads": "operation_id, s3_object_key, store, local_path, downloaded_size",
    "searches": "operation_id, keyword, location, local_matches, s3_matches, total_matches, download_selected,"
    " status_checked",
    "verifications": "operation_id, s3_object_key, store, checked_objects, checked_size, problems_found",
    "files": "name, path, location, store, size, is_directory, mime_type, modified_at, tags, status, s3_object_key,"
    " digest, operation_id, recorded_at",
}
STORE = "s3://bench/archive"


def fill(path: Path, count: int) -> None:
    """Add `count` operations of mixed kinds to the catalog, and an archive for each upload, by plain SQL."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for number in range(1, count + 1):
            for table, values in operation(number):
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO {table} ({TABLES[table]}) VALUES ({marks})", values)


def operation(number: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    """The rows of operation `number` and of its archive: the table, and values in the order of `TABLES`."""
    chance = random.Random(number)
    kind = chance.choice(KINDS)
    id_ = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    at = f"{datetime(2016, 1, 1, tzinfo=UTC) + timedelta(minutes=5 * number):%Y-%m-%d %H:%M:%S.%f}"
    name, size = f"holiday {number}", chance.randrange(10**10)
    key, target = f"{number % 977:03}/{name}.tar.gz", f"/home/ann/{number % 977:03}/{name}"
    yield (
        "operations",
        (id_, kind, target, name, at, at, "success", "{}", "ann", '{"level": "fast"}', number, "nas", "0.1.0"),
    )
    match kind:
        case "upload":
            digest = chance.randbytes(32).hex()
            yield "uploads", (id_, "gzip", size, size // 3, key, STORE, digest)
            archive = (f"{name}.tar.gz", key, "s3", STORE, size // 3, 0, "application/gzip", at, "{}", "completed")
            yield "files", (*archive, key, digest, id_, at)
        case "download":
            yield "downloads", (id_, key, STORE, f"/back/{name}", size)
        case "search":
            yield "searches", (id_, "beach", "global", 1, 2, 3, 0, 0)
        case "verify":
            yield "verifications", (id_, key, STORE, 1, size, 0)
