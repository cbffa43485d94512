"""A catalog with many operations of all types and statuses, and archives, written in seconds by plain SQL."""

import json
import random
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mgmt.catalog import Status, open_catalog
from mgmt.catalog.records.operation_types import AnyOperation
from tests.catalogs import PostgreSQLCatalog, SQLiteCatalog

Row = tuple[Any, ...]

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAYS = 1_000
"""The operations started within so many days before NOW, one after the other."""

CLASSES = (None, "STANDARD_IA", "DEEP_ARCHIVE")
STORES = ("file:///srv/archive", "s3://media", "s3://media/2")
USERS, HOSTS = ("ann", "ben", "zoë", None), ("nas", "laptop", None)
MESSAGES = (
    "{path}: Permission denied",
    "{path} changed while it was read",
    "the store {store} is unreachable: timed out after 60 s",
    "s3://media/{name}.tar.gz is frozen; restore it first",
    "interrupted",
    None,
)
SCHEDULE = "nightly"

COLUMNS = {
    "operations": "operation_id operation_type target_path target_name started_at completed_at status error_message"
    " metadata user command_args seq host",
    "uploads": "operation_id compression_type original_size compressed_size",
    "downloads": "operation_id downloaded_size",
    "verifications": "operation_id checked_objects checked_size problems_found",
    "restores": "operation_id store s3_object_key archive_id expires_at",
    "files": "id name path location host store size is_directory modified_at tags status s3_object_key storage_class"
    " archive_id digest kept original_size member_count proof proven_at locked_until operation_id recorded_at",
    "jobs": "operation_id command queue attempt attempts backoff_seconds taken_by fanned_out held requested_at",
    "schedules": "name cron timezone command host cwd paused created_at",
    "outbox": "message_id rule event payload created_at next_try_at attempts delivered_at given_up error host",
}


def types() -> list[str]:
    """Every type of operation, in order."""
    return sorted(str(each) for each in AnyOperation.__mapper__.polymorphic_map)


def populate(url: str, operations: int) -> None:
    """Fill the new catalog at `url`: so many operations, and an archive for every tenth."""
    opened = open_catalog(url)
    opened.metadata.list_files(limit=1)
    opened.close()
    made = _rows(operations)
    if url.startswith("sqlite"):
        _into_sqlite(Path(url.partition(":///")[2]), made)
    else:
        _into_postgresql(url, made)


def reader(url: str) -> SQLiteCatalog | PostgreSQLCatalog:
    """The catalog at `url`, for plain SQL."""
    if url.startswith("sqlite"):
        return SQLiteCatalog(Path(url.partition(":///")[2]))
    return PostgreSQLCatalog(None, url, "")  # type: ignore[arg-type]  # to read needs no server to make databases


def _rows(number: int) -> dict[str, list[Row]]:
    draw = random.Random(20)
    rows: dict[str, list[Row]] = defaultdict(list)
    kinds, statuses = types(), [each.value for each in Status]
    step = timedelta(days=DAYS) / number
    uploads = []
    for at in range(number):
        kind = "upload" if at % 3 == 0 else draw.choice(kinds)
        status = draw.choice(statuses) if at % 5 == 0 else "success"
        began = NOW - timedelta(days=DAYS) + step * at
        path = f"/home/{draw.choice('abc')}/tour {at}"
        took = timedelta(milliseconds=int(draw.expovariate(1 / 20_000)))
        message = draw.choice(MESSAGES) if status in ("failed", "partial") else None
        if message is not None:
            message = message.format(path=path, name=f"tour-{at}", store=draw.choice(STORES))
        id_ = f"{at:08x}-0000-4000-8000-000000000000"
        of_schedule = {"schedule": {"name": SCHEDULE}} if at % 97 == 0 else {}
        rows["operations"].append((
            id_, kind, path, path.rpartition("/")[2], _time(began),
            None if status in ("pending", "running") else _time(began + took), status, message, "{}",
            draw.choice(USERS), json.dumps(of_schedule), at + 1, draw.choice(HOSTS),
        ))  # fmt: skip
        size = draw.randrange(1 << 32)
        if kind == "upload":
            uploads.append(id_)
            rows["uploads"].append((id_, "gzip", size if at % 7 else None, size // 2))
        elif kind == "download":
            rows["downloads"].append((id_, size))
        elif kind == "verify":
            rows["verifications"].append((id_, 1, size, 0))
    _add_files(rows, draw, number // 10, uploads)
    _add_work(rows, draw)
    return rows


def _add_files(rows: dict[str, list[Row]], draw: random.Random, number: int, uploads: Sequence[str]) -> None:
    for at in range(number):
        store, key = draw.choice(STORES), f"{f'folder {draw.randrange(30)}/' if at % 9 else ''}tour-{at}.tar.gz"
        id_ = f"{at:08x}-1111-4000-8000-000000000000"
        digest = f"{at // 2 if at % 10 == 1 else at:064x}"  # some have the contents of another
        kept = draw.choice(("", "", "owners:1", None))
        recorded = NOW - timedelta(days=draw.randrange(DAYS), seconds=draw.randrange(86_400))
        size, proven = draw.randrange(1 << 36), draw.randrange(400)
        locked = NOW + timedelta(days=draw.randrange(-100, 100)) if at % 11 == 0 else None
        rows["files"].append((
            len(rows["files"]) + 1, key.rpartition("/")[2], key, "s3", None, store, size, False,
            _time(recorded) if at % 8 else None, json.dumps({"year": str(at % 40)} if at % 3 else {}),
            draw.choice(("completed",) * 6 + ("deleted",)), key, draw.choice(CLASSES), id_ if at % 13 else None, digest,
            kept, size * 2 if at % 6 else None, 10, "read-back" if at % 17 else None,
            _time(NOW - timedelta(days=proven)) if at % 17 else None, None if locked is None else _time(locked),
            draw.choice(uploads) if at % 12 else None, _time(recorded),
        ))  # fmt: skip
        if at % 3:
            path, place = f"/home/ann/completed/tour {at}", draw.choice(("completed", "local"))
            rows["files"].append((
                len(rows["files"]) + 1, path.rpartition("/")[2], path, place, "nas", None, size, True,
                _time(recorded), "{}", draw.choice(("completed", "deleted")), None, None, None, digest,
                draw.choice((kept, "", "owners:1")), size * 2, None, None, None, None, None, _time(recorded),
            ))  # fmt: skip
    archives = [each for each in rows["files"] if each[3] == "s3"]
    restores = [each for each in rows["operations"] if each[1] == "restore"]
    for restore in restores:
        archive = draw.choice(archives)
        expires = _time(NOW + timedelta(days=draw.randrange(-60, 60)))
        rows["restores"].append((restore[0], archive[5], archive[2], archive[13], expires))


def _add_work(rows: dict[str, list[Row]], draw: random.Random) -> None:
    live = [each for each in rows["operations"] if each[6] in ("pending", "running")]
    for at, each in enumerate(live):
        rows["jobs"].append((
            each[0], "upload", draw.choice(("any", "nas")), 1, 5, 60, "nas/b/1/2" if at % 3 == 0 else None,
            at % 19 == 0, at % 7 == 0, each[4],
        ))  # fmt: skip
    rows["schedules"].append(
        (SCHEDULE, "0 3 * * *", "UTC", json.dumps(["upload"]), "nas", "/", False, _time(NOW - timedelta(days=2 * DAYS)))
    )
    for at in range(20):
        rows["outbox"].append((
            str(at), "phone", "operation.failed", "{}", _time(NOW), _time(NOW), at % 3, None if at % 2 else _time(NOW),
            at % 5 == 1, "timed out" if at % 3 else None, "nas",
        ))  # fmt: skip


def _time(moment: datetime) -> str:
    """As SQLite stores it; PostgreSQL reads it as UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _into_sqlite(path: Path, rows: dict[str, list[Row]]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, names in COLUMNS.items():
            columns = names.split()
            listed, marks = ", ".join(f'"{each}"' for each in columns), ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({listed}) VALUES ({marks})", rows[table])


def _into_postgresql(url: str, rows: dict[str, list[Row]]) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        for setting in ("session_replication_role = replica", "timezone = 'UTC'"):
            connection.execute(f"SET {setting}".encode())
        for table, names in COLUMNS.items():
            listed = ", ".join(f'"{each}"' for each in names.split())
            statement = f"COPY {table} ({listed}) FROM STDIN".encode()
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows[table]:
                    copy.write_row(row)
