"""From a URL to an engine: SQLite and PostgreSQL, set up so that what is committed stays."""

import os
import sqlite3
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from mgmt.errors import CatalogError, ConfigurationError
from mgmt.paths import absolute

BUSY_SECONDS = 10.0
"""How long to wait for a program that does not know our lock, such as the sqlite3 shell."""

READING = "mgmt_reading"


def parse(url: str | URL) -> URL:
    """The `sqlite:///file` or `postgresql://...` that `url` says; ConfigurationError when it says something else."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(
            "the catalog's URL cannot be understood", next_step="use sqlite:////path/to/catalog.db"
        ) from error
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(database=absolute(parsed.database))
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigurationError(
        f"{parsed.render_as_string()} is not a catalog: it must be sqlite:///file or postgresql://...",
        next_step="use sqlite:////path/to/catalog.db",
    )


def connect(url: URL, *, wal: bool = True) -> tuple[Engine, Engine]:
    """An engine that writes, and one that reads and never leaves a transaction open. Nothing is opened yet.

    With `wal` an SQLite file that has no write-ahead log is given one.
    """
    if url.get_backend_name() == "sqlite":
        path = str(url.database)
        engine = create_engine(url, creator=lambda: _open_sqlite(path, wal=wal), hide_parameters=True)
        event.listen(engine, "begin", _begin_immediate)
        return engine, engine.execution_options(**{READING: True})
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "a PostgreSQL catalog needs psycopg", next_step="pip install 'mgmt-archive[postgres]'"
        ) from error
    from mgmt.catalog.db.commit_recovery import settle_commits

    settle_commits(engine)
    return engine, engine.execution_options(isolation_level="AUTOCOMMIT")


def create_sqlite(path: str) -> None:
    """An empty file that only its owner may read, in a folder that only its owner may enter, unless they exist.

    SQLite gives its -wal and -shm the mode of the file, so it must be right before it is first opened.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CatalogError(
            f"the catalog {path} cannot be created: {error.strerror}",
            next_step="check its folder, or use --catalog URL",
        ) from error


def is_writable(path: str) -> bool:
    """SQLite may write the file, and the files that it keeps beside it."""
    return _may_write(path) and _may_write(os.path.dirname(path))


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _open_sqlite(path: str, *, wal: bool) -> sqlite3.Connection:
    writable = is_writable(path)
    mode = "rw" if writable else "ro"
    if not _may_write(os.path.dirname(path)) and not os.path.exists(f"{path}-wal"):
        # A WAL database cannot be opened where its -shm cannot be created, unless nothing can change it.
        mode = "ro&immutable=1"
    # Without isolation_level=None the driver would begin transactions of its own.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if writable and wal:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA recursive_triggers=ON")
        connection.create_function("casefold", 1, _casefold, deterministic=True)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _casefold(text: str | None) -> str | None:
    """SQLite's own lower() knows ASCII only."""
    return None if text is None else text.casefold()


def _begin_immediate(connection: Connection) -> None:
    # A reader's statements each end by themselves; only a writer has a transaction, and its lock from the beginning.
    if not connection.get_execution_options().get(READING):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
