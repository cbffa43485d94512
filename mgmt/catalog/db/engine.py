"""Database engines: SQLite and PostgreSQL connections, configured so that committed data is durable."""

import os
import sqlite3
from contextlib import suppress
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from mgmt.catalog.records.types import read_json
from mgmt.config import redact
from mgmt.errors import CatalogError, ConfigurationError
from mgmt.paths import absolute

BUSY_SECONDS = 10.0
"""How long to wait for a program that does not use our lock file, such as the sqlite3 shell."""

WAL_BYTES = 64 << 20
"""What remains of the write-ahead log after it has grown behind a reader that took long, such as an export."""

CONNECTIONS = 20
"""Maximum number of connections of a process: one for each thread that uses the catalog, and for its heartbeat."""

READING = "mgmt_reading"


def parse(url: str | URL) -> URL:
    """Parse a `sqlite:///file` or `postgresql://...` URL. Raises ConfigurationError for any other."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # of a port that is no number, with what was given; it may be a password
        raise ConfigurationError(
            "invalid catalog URL", next_step="use sqlite:////path/to/catalog.db or postgresql://user@host:port/database"
        ) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(database=absolute(parsed.database))
    if parsed.get_backend_name() in ("postgresql", "postgres"):  # libpq takes both
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigurationError(
        f"{redact(parsed.render_as_string())} is not a catalog URL: it must be sqlite:///file or postgresql://...",
        next_step="use sqlite:////path/to/catalog.db",
    )


def connect_aside(url: URL) -> Engine:
    """Return an engine that writes to PostgreSQL on a connection of its own, and closes it after each use.

    If the server allows no second connection, it fails at once.
    """
    from mgmt.catalog.db.commit_recovery import recover_commits
    from mgmt.catalog.db.postgresql import own

    engine = create_engine(own(url), hide_parameters=True, poolclass=NullPool, use_native_hstore=False)
    recover_commits(engine, patient=False)
    return engine


def connect(url: URL, *, wal: bool = True, patient: bool = True) -> tuple[Engine, Engine]:
    """Return an engine that writes, and one that reads and leaves no transaction open. Neither is connected yet.

    With `wal`, an SQLite file is switched to a write-ahead log. Unless it is `patient`, it fails at once if
    a server has no connection left.
    """
    if url.get_backend_name() == "sqlite":
        path = str(url.database)
        engine = create_engine(
            url,
            creator=lambda: _open_sqlite(path, wal=wal),
            hide_parameters=True,
            json_deserializer=read_json,
            pool_size=CONNECTIONS,
        )
        event.listen(engine, "begin", _begin_immediate)
        return engine, engine.execution_options(**{READING: True})
    from mgmt.catalog.db.postgresql import own

    try:
        # Each thread uses one connection, which stays open: a login may be allowed no other.
        size = 1 if patient else CONNECTIONS
        engine = create_engine(
            own(url), hide_parameters=True, pool_pre_ping=True, pool_size=size, use_native_hstore=False
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "a PostgreSQL catalog needs psycopg", next_step="pip install 'mgmt-archive[postgres]'"
        ) from error
    from mgmt.catalog.db.commit_recovery import recover_commits

    recover_commits(engine, patient=patient)
    return engine, engine.execution_options(isolation_level="AUTOCOMMIT")


def connect_read_only(url: URL) -> Engine:
    """Return an engine that cannot write. It is not connected yet.

    On PostgreSQL each transaction is read-only. A connection to an SQLite file is closed after each use: one that stays
    would keep other processes from merging their write-ahead log, and would not notice that the file was replaced.
    """
    if url.get_backend_name() == "sqlite":
        path = str(url.database)
        engine = create_engine(
            url,
            creator=lambda: _open_sqlite(path, wal=False, query_only=True),
            hide_parameters=True,
            json_deserializer=read_json,
            poolclass=NullPool,
        )
        return engine.execution_options(**{READING: True})
    writer, _ = connect(url)
    return writer.execution_options(isolation_level="READ COMMITTED", postgresql_readonly=True)


def create_sqlite(path: str) -> None:
    """Create an empty database file with mode 0600, and its folder with mode 0700, unless they exist.

    SQLite gives its -wal and -shm files the mode of the database file, so the mode is set before the first open.

    An existing file is never opened here: closing it would release the locks of this process's connections (POSIX), and
    another process would remove the log that they still write to (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CatalogError(
            f"the catalog {path} cannot be created: {error.strerror}",
            next_step="check its folder, or use --catalog URL",
        ) from error


def is_writable(path: str) -> bool:
    """Whether SQLite may write the file and the -wal and -shm files beside it."""
    return _may_write(path) and _may_write(os.path.dirname(path))


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _make_writable(path: str) -> None:
    """Give the -wal and -shm files the mode of the database, if they lack it.

    While a database is read-only, each reader makes them read-only, and cannot remove them: once it is writable again,
    they would keep its owner from writing.
    """
    for beside in (f"{path}-wal", f"{path}-shm"):
        if os.path.exists(beside) and not _may_write(beside):
            with suppress(OSError):  # another user's, which the first write reports
                os.chmod(beside, os.stat(path).st_mode & 0o777)


def _open_sqlite(path: str, *, wal: bool, query_only: bool = False) -> sqlite3.Connection:
    writable = is_writable(path)
    mode = "rw" if writable else "ro"
    if writable:
        _make_writable(path)
    if not _may_write(os.path.dirname(path)) and not os.path.exists(f"{path}-wal"):
        # SQLite cannot open a WAL database where it cannot create the -shm file, unless the database is immutable.
        mode = "ro&immutable=1"
    # Without isolation_level=None the driver begins transactions by itself.
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
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA recursive_triggers=ON")
        connection.create_function("casefold", 1, _casefold, deterministic=True)
        if query_only:
            connection.execute("PRAGMA query_only=ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _casefold(text: str | None) -> str | None:
    """Replaces SQLite's lower(), which handles ASCII only."""
    return None if text is None else text.casefold()


def _begin_immediate(connection: Connection) -> None:
    # Readers run in autocommit. A writer takes the write lock when its transaction begins, so it cannot fail later.
    if not connection.get_execution_options().get(READING):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
