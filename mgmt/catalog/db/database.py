"""The catalog's database: who may write when, and whether its schema is ours."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, inspect, text
from sqlalchemy.orm import Session

from mgmt.catalog.audit.hashing import has_ended, watch
from mgmt.catalog.db.engine import connect, create_sqlite, is_writable, parse
from mgmt.catalog.db.errors import translated
from mgmt.catalog.db.flock import locked, locked_at_once
from mgmt.catalog.db.read_retry import once_more, read_once_more
from mgmt.catalog.records.types import display
from mgmt.errors import CatalogError
from mgmt.signals import held

HEAD = "0008"
"""The schema that this mgmt reads and writes: the newest revision in migrations/."""

MIGRATING = (
    "SET LOCAL lock_timeout = '10s'",  # whoever works meanwhile does not wait behind an upgrade that waits itself
    "SET LOCAL statement_timeout = 0",  # a limit of the login is for its queries, not for ten million rows
    "SELECT pg_advisory_xact_lock(hashtext('mgmt migrations'))",
)
"""What the transaction of an upgrade begins with on PostgreSQL, run by mgmt or written out for an administrator."""
_FIRST_LOOK = text("SELECT version_num FROM alembic_version")
"""The moment of a snapshot is that of its first query."""

LOCK_SECONDS = 30.0
"""How long to stand in line behind other processes of mgmt that write: each of them takes milliseconds."""


class Database:
    """One catalog, opened at first use. Records live in one session, whose state only `transaction` writes.

    Calls may come from any thread; they take turns.
    """

    def __init__(self, url: str | URL, *, create: bool = True) -> None:
        """`url` is sqlite:///file or postgresql://...; with `create` an empty database gets its schema by itself.

        Without it nothing is made: neither a schema, nor SQLite's write-ahead log for a file that has none.
        """
        self.url = parse(url)
        self.name = self.url.render_as_string()
        self.path: str | None = None
        if self.url.get_backend_name() == "sqlite":
            self.path = self.name = str(self.url.database)
        self._create = create
        self._writer, self._reader = connect(self.url, wal=create)
        self._session = _RoutedSession(self)
        watch(self._session)
        self._mutex = threading.RLock()
        self._depth = 0
        read_once_more(self._session, self.name, lambda: not self._depth)
        self._lock_depth = 0
        self._is_current = False
        self._check: Callable[[Session], None] = lambda _: None

    @property
    def is_sqlite(self) -> bool:
        """A file of our own, not a server."""
        return self.path is not None

    def guard(self, check: Callable[[Session], None]) -> None:
        """Begin every transaction with `check` from now on: when it raises, nothing is written."""
        self._check = check

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """All that is written inside is committed together at its end, or not at all.

        A transaction inside another one joins it. On SQLite the outermost holds a lock against other writers, so it
        should be short. Raises CatalogError for whatever the database raises.
        """
        with self._mutex, translated(self.name):
            if self._depth:
                yield self._session
                return
            self._ensure_current()
            with self.lock():
                if (reading := self._session.get_transaction()) is not None:
                    # Or it would be committed beside the writer's, and a failure of one leaves the other half done.
                    reading.close()
                self._depth = 1
                try:
                    self._check(self._session)
                    yield self._session
                    with held():  # SQLAlchemy does not get over an interruption of either
                        self._session.commit()
                except BaseException:
                    with held():
                        self._session.rollback()
                    raise
                finally:
                    self._depth = 0

    @contextmanager
    def aside(self) -> Iterator[Connection | None]:
        """A short transaction of its own, for another thread; None when a writer of SQLite would have to wait for it.

        It has nothing to do with the session, and waits for nobody. Raises CatalogError.
        """
        with translated(self.name), ExitStack() as stack:
            if self.path is not None:
                descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                if not locked_at_once(descriptor):
                    yield None
                    return
            yield stack.enter_context(self._writer.begin())

    @property
    def has_ended(self) -> bool:
        """An operation has ended through this object."""
        return has_ended(self._session)

    def take_turns(self, key: str) -> None:
        """Inside a transaction: wait for whoever else has said the same `key`, until that transaction ends.

        On SQLite there is only one writer anyway.
        """
        if not self.is_sqlite:
            lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
            self._session.execute(lock, {"key": display(key)})

    def wait_no_longer(self) -> None:
        """Inside a transaction: CatalogError when another session locks a row of it for LOCK_SECONDS.

        A machine that died may have left its server in the middle of a transaction. On SQLite nobody has a lock then.
        """
        if not self.is_sqlite:
            self._session.execute(text(f"SET LOCAL lock_timeout = {round(LOCK_SECONDS * 1000)}"))

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Each statement inside sees what is committed by then, and leaves no transaction open behind it.

        Inside a transaction it sees what that has written. Raises CatalogError for whatever the database raises.
        """
        with self._mutex, translated(self.name):
            if self._depth:
                self._session.flush()
            else:
                self._ensure_current()
            yield self._session

    def after_flush(self, listener: Callable[[Session], None]) -> None:
        """Have `listener` see what is new and what has changed, each time that records are written."""
        event.listen(self._session, "after_flush", lambda session, _: listener(session))

    def discard(self) -> None:
        """Forget all changes of records that are not committed."""
        with self._mutex, translated(self.name), held():
            self._session.rollback()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers of an SQLite catalog waiting, in the order they came. Nothing on PostgreSQL.

        SQLite's own busy handler polls and starves some; a queue in the kernel does not. Raises CatalogError when it
        takes longer than LOCK_SECONDS.
        """
        with self._mutex:
            if self.path is None or self._lock_depth:
                yield
                return
            if not is_writable(self.path):
                raise CatalogError(
                    f"the catalog {self.path} cannot be written: it is read-only here",
                    next_step="check the permissions of the file and its folder",
                )
            try:
                descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                arrived = locked(descriptor, LOCK_SECONDS)
            except OSError as error:
                raise CatalogError(
                    f"the catalog {self.path} cannot be locked: {error.strerror}",
                    next_step=f"check the permissions of {self.path}.lock",
                ) from error
            if not arrived:
                raise CatalogError(
                    f"the catalog {self.path} is busy: another process has been writing for {LOCK_SECONDS:g} s",
                    next_step=f"find it with `fuser {self.path}.lock`, or try again later",
                )
            try:
                self._lock_depth = 1
                yield
            finally:
                with held():  # or this process would stand in line behind itself
                    self._lock_depth = 0
                    os.close(descriptor)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """One transaction in which the schema may change, kept from everyone else: all of it happens, or nothing.

        On SQLite foreign keys rest meanwhile, as tables are rebuilt, and are checked before the commit.
        """
        if self.path is not None:
            create_sqlite(self.path)
        self._is_current = False
        with self._mutex, translated(self.name), self.lock(), self._writer.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self.is_sqlite:
                driver.execute("PRAGMA foreign_keys=OFF")  # does nothing inside a transaction
            try:
                with connection.begin():
                    if not self.is_sqlite:
                        for statement in MIGRATING:
                            connection.execute(text(statement))
                    yield connection
                    if self.is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
                        raise CatalogError(
                            f"the catalog {self.name} was not changed: rows of {broken[0]} would be orphans"
                        )
            finally:
                if self.is_sqlite:
                    driver.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to look with, whatever schema there is."""
        with self._mutex, translated(self.name), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees the catalog as it is at this moment, however long it looks; others go on writing."""
        with self._mutex, translated(self.name):
            self._ensure_current()
            if self.is_sqlite:
                with self._reader.connect() as connection:
                    driver: Any = connection.connection.driver_connection
                    driver.text_factory = _readable  # what somebody has spoilt must not keep us from saying so
                    connection.exec_driver_sql("BEGIN")
                    try:
                        connection.execute(_FIRST_LOOK)
                        yield connection
                    finally:
                        connection.exec_driver_sql("ROLLBACK")
                        driver.text_factory = str
                return
            moment = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with moment.connect() as connection:
                connection.execute(_FIRST_LOOK)
                yield connection

    def revision(self) -> str | None:
        """The revision of the schema that is there; None when there is none, and nothing else either.

        Raises CatalogError when the database is somebody else's.
        """
        if self.path is not None and not os.path.exists(self.path):
            return None
        with translated(self.name):
            return once_more(self._revision)

    def close(self) -> None:
        """Close every connection. The next use opens them again."""
        with self._mutex:
            self._session.close()
            self._writer.dispose()

    def bind(self) -> Engine:
        """What the session's next statement goes to."""
        return self._writer if self._depth else self._reader

    def _revision(self) -> str | None:
        with self._mutex, self._reader.connect() as connection:
            tables = inspect(connection).get_table_names()
            if "alembic_version" in tables:
                found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
                return found
            if tables:
                raise CatalogError(
                    f"{self.name} is not a catalog of mgmt: it holds other tables", next_step="use --catalog URL"
                )
            return None

    def _ensure_current(self) -> None:
        if self._is_current:
            return
        found = self.revision()
        if found is None:
            if not self._create:
                raise CatalogError(f"there is no catalog at {self.name}", next_step="mgmt db upgrade")
            # Only here is Alembic worth the time it takes to import.
            from mgmt.catalog.schema import migrate as schema

            schema.upgrade(self)
        elif found < HEAD:
            raise CatalogError(
                f"the catalog {self.name} has the older schema {found}; this mgmt needs {HEAD}",
                next_step="mgmt db upgrade",
            )
        elif found > HEAD:
            raise CatalogError(
                f"the catalog {self.name} has the schema {found}, which this mgmt does not know: it knows {HEAD}",
                next_step="use a newer mgmt",
            )
        self._is_current = True


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


class _RoutedSession(Session):
    """Writes go to the engine that begins transactions, reads outside of one to the engine that does not."""

    def __init__(self, database: Database) -> None:
        super().__init__(autoflush=False, expire_on_commit=False)
        self._database = database

    def get_bind(self, *_: Any, **__: Any) -> Engine:
        return self._database.bind()
