"""The catalog's database: transactions, locks, and the check of the schema version."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, String, column, event, inspect, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from mgmt.catalog.db.engine import connect, connect_aside, create_sqlite, is_writable, parse
from mgmt.catalog.db.errors import is_missing_table, translate_errors
from mgmt.catalog.db.flock import lock_with_timeout, try_lock
from mgmt.catalog.db.read_retry import retry_read, retry_reads
from mgmt.catalog.db.revision import HEAD
from mgmt.catalog.records.types import display
from mgmt.config import redact
from mgmt.errors import CatalogError, ReadOnlyCatalogError
from mgmt.signals import held
from mgmt.words import shell_word

MIGRATING = (
    "SET LOCAL lock_timeout = '10s'",  # other sessions do not queue behind an upgrade that waits itself
    "SET LOCAL statement_timeout = 0",  # a role's limit is meant for its queries, not for ten million rows
    "SELECT pg_advisory_xact_lock(hashtext('mgmt migrations'))",
)
"""The first statements of an upgrade on PostgreSQL, run by mgmt or printed for an administrator."""
_START_SNAPSHOT = text("SELECT version_num FROM alembic_version")
"""A snapshot is taken by the first query of its transaction."""

_OWN_SCHEMA = "CREATE SCHEMA mgmt, and ALTER ROLE ... SET search_path = mgmt; or use another database: --catalog URL"
"""What to do where the catalog's schema has other tables, such as those of an extension."""

LOCK_SECONDS = 30.0
"""How long to wait for other mgmt processes that write. Each of their transactions takes milliseconds."""


class Database:
    """One catalog, opened at first use. Records live in one session; only `transaction` writes their changes.

    Calls from several threads are serialized.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        wal: bool = True,
        initialize: Callable[["Database"], object] | None = None,
        engines: tuple[Engine, Engine] | None = None,
    ) -> None:
        """`url` is sqlite:///file or postgresql://...

        `initialize` creates the schema of an empty database at first use; without it an empty database is refused.
        `wal` gives an SQLite file its write-ahead log. `engines` are those of another thread (`for_thread`).
        """
        self.url = parse(url)
        self.name = redact(self.url.render_as_string())
        self.path: str | None = None
        if self.url.get_backend_name() == "sqlite":
            self.path = self.name = str(self.url.database)
        self._initialize = initialize
        self._writer, self._reader = engines or connect(self.url, wal=wal)
        self._shares_engines = engines is not None
        self._thread_engines: tuple[Engine, Engine] | None = None
        self._listeners: list[tuple[str, Callable[..., None]]] = []
        self._aside: Engine | None = None
        self._session = _RoutedSession(self)
        self.at_end: list[Callable[[Session, Any], None]] = self._session.info.setdefault("at_end", [])
        self._mutex = threading.RLock()
        self._depth = 0
        retry_reads(self._session, self.name, lambda: not self._depth)
        self._lock_depth = 0
        self._is_current = False
        self._check: Callable[[Session], None] = lambda _: None
        self._prepare: Callable[[], object] | None = None

    @property
    def is_sqlite(self) -> bool:
        """The catalog is an SQLite file, not a PostgreSQL database."""
        return self.path is not None

    def before_writing(self, prepare: Callable[[], object]) -> None:
        """Call `prepare` once, before the first transaction: what only writers need is imported then."""
        self._prepare = prepare

    def for_thread(self) -> "Database":
        """The same catalog for another thread, with a session and a connection of its own.

        What one of the two has not committed, the other neither sees nor writes. It is connected already, and has to be
        closed before this one. Raises CatalogError, also when the server allows no further connection.
        """
        with self.reading():  # the schema is current
            if self._thread_engines is None:
                engines = (self._writer, self._reader) if self.is_sqlite else connect(self.url, patient=False)
                self._thread_engines = engines
        other = Database(self.url, engines=self._thread_engines)
        other._is_current = True
        other.at_end += self.at_end
        for each in self._listeners:
            other.listen(*each)
        with other.reading() as session:
            session.connection()
        return other

    def detach(self, record: object) -> None:
        """Load all of `record` and release it, so that other threads can read it. Others than of this session stay."""
        with self.reading() as session:
            if record in session:
                session.refresh(record, inspect(record).unloaded & set(inspect(record).mapper.column_attrs.keys()))
                session.expunge(record)

    def guard(self, check: Callable[[Session], None]) -> None:
        """Begin every transaction with `check` from now on; if it raises, the transaction is rolled back."""
        self._check = check

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commit everything written inside together at the end, or nothing.

        A transaction inside another one joins it. On SQLite it holds the writers' lock, so it should be short. Raises
        CatalogError for every error of the database.
        """
        with self._mutex, translate_errors(self.name):
            if self._depth:
                yield self._session
                return
            self._ensure_current()
            if self._prepare is not None:
                self._prepare()
                self._prepare = None
            with self.lock():
                self._release()  # or it would be committed beside the writer's, and one might fail after the other
                self._depth = 1
                try:
                    if not self.is_sqlite:  # a connection that was lost before this began costs nothing
                        retry_read(self._session.connection)
                    self._check(self._session)
                    yield self._session
                    with held():  # an interrupted commit or rollback leaves SQLAlchemy in an unusable state
                        self._session.commit()
                except BaseException:
                    with held():
                        self._session.rollback()
                    raise
                finally:
                    self._depth = 0

    @contextmanager
    def side_transaction(self) -> Iterator[Connection | None]:
        """A short transaction on a connection of its own, for a background thread. Raises CatalogError.

        It never waits for the session or for another writer: on SQLite it yields None while another writer holds the
        lock.
        """
        with translate_errors(self.name), ExitStack() as stack:
            engine = self._writer
            if self.path is None:
                # Not from the pool: the session would have to open another one meanwhile, which it may not be allowed.
                engine = self._aside = self._aside or connect_aside(self.url)
            else:
                descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                if not try_lock(descriptor):
                    yield None
                    return
            yield stack.enter_context(engine.begin())

    def advisory_lock(self, key: str) -> None:
        """Inside a transaction: hold the advisory lock on `key` until the transaction ends, and wait for it first.

        SQLite has a single writer, and needs no lock.
        """
        if not self.is_sqlite:
            lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
            self._session.execute(lock, {"key": display(key)})

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session to read with: each statement sees what is committed by then, and leaves no transaction open.

        Inside `transaction` it also sees what that has written. Raises CatalogError for every error of the database.
        """
        with self._mutex, translate_errors(self.name):
            if self._depth:
                self._session.flush()
            else:
                self._ensure_current()
            yield self._session

    def listen(self, event_name: str, listener: Callable[..., None], *, everywhere: bool = False) -> None:
        """Call `listener` at each session event of this name ("after_flush", "before_commit", ...).

        With `everywhere`, also at those of each database that `for_thread` returns from now on, in its thread.
        """
        event.listen(self._session, event_name, listener)
        if everywhere:
            self._listeners.append((event_name, listener))

    def discard(self) -> None:
        """Discard all uncommitted changes of records."""
        with self._mutex, translate_errors(self.name), held():
            self._session.rollback()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the writers' lock of an SQLite catalog; do nothing on PostgreSQL.

        The kernel grants it in order of arrival, unlike SQLite's busy handler, which polls and can starve a writer.
        Raises CatalogError if another process holds it for longer than LOCK_SECONDS.
        """
        with self._mutex:
            if self.path is None or self._lock_depth:
                yield
                return
            if not is_writable(self.path):
                raise ReadOnlyCatalogError(
                    f"the catalog {self.path} cannot be written: it is read-only here",
                    next_step="check the permissions of the file and its folder",
                )
            try:
                descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                acquired = lock_with_timeout(descriptor, LOCK_SECONDS)
            except OSError as error:
                raise CatalogError(
                    f"the catalog {self.path} cannot be locked: {error.strerror}",
                    next_step=f"check the permissions of {self.path}.lock",
                ) from error
            if not acquired:
                raise CatalogError(
                    f"the catalog {self.path} is busy: another process has been writing for {LOCK_SECONDS:g} s",
                    next_step=f"fuser {shell_word(f'{self.path}.lock')}\n# finds it; or try again later",
                )
            try:
                self._lock_depth = 1
                yield
            finally:
                with held():  # otherwise this process would wait for its own lock
                    self._lock_depth = 0
                    os.close(descriptor)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """One exclusive transaction in which the schema may change; it is applied completely or not at all.

        SQLite rebuilds tables to change them, so foreign keys are off until just before the commit, and checked then.
        """
        if self.path is not None:
            create_sqlite(self.path)
        self._is_current = False
        self._release()
        with self._mutex, translate_errors(self.name), self.lock(), self._writer.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self.is_sqlite:
                driver.execute("PRAGMA foreign_keys=OFF")  # does nothing inside a transaction
            try:
                with connection.begin():
                    if not self.is_sqlite:
                        _refuse_encoding(connection, self.name)
                        for statement in MIGRATING:
                            connection.execute(text(statement))
                    yield connection
                    if self.is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
                        raise CatalogError(
                            f"the catalog {self.name} was not changed: rows of {broken[0]} would be orphaned"
                        )
            finally:
                if self.is_sqlite:
                    driver.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to read with, whatever the version of the schema."""
        self._release()
        with self._mutex, translate_errors(self.name), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees the catalog as of now, however long it reads. Other processes can write meanwhile."""
        with self._mutex, translate_errors(self.name):
            self._ensure_current()
            self._release()
            if self.is_sqlite:
                with self._reader.connect() as connection:
                    driver: Any = connection.connection.driver_connection
                    driver.text_factory = _readable  # tampered text must not stop the verification
                    connection.exec_driver_sql("BEGIN")
                    try:
                        connection.execute(_START_SNAPSHOT)
                        yield connection
                    finally:
                        connection.exec_driver_sql("ROLLBACK")
                        driver.text_factory = str
                return
            moment = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with moment.connect() as connection:
                connection.execute(_START_SNAPSHOT)
                yield connection

    def revision(self) -> str | None:
        """The revision of the schema; None for an empty database.

        Raises CatalogError if the database belongs to another program.
        """
        if self.path is not None and not os.path.exists(self.path):
            return None
        with translate_errors(self.name):
            return retry_read(self._revision)

    def close(self) -> None:
        """Close every connection; of one `for_thread`, its own. The next use opens them again."""
        with self._mutex:
            self._session.close()
            if not self._shares_engines:
                self._writer.dispose()
                if self._thread_engines is not None:
                    self._thread_engines[0].dispose()

    def _release(self) -> None:
        """Return the connection that the session reads with, if it has one: a login may be allowed no other."""
        with self._mutex:
            if not self._depth and (reading := self._session.get_transaction()) is not None:
                reading.close()

    def bind(self) -> Engine:
        """The engine for the session's next statement."""
        return self._writer if self._depth else self._reader

    def _revision(self) -> str | None:
        self._release()
        with self._mutex, self._reader.connect() as connection:
            try:
                found: str | None = connection.scalar(_revision_in(connection))
                return found
            except DBAPIError as error:
                if not is_missing_table(error):
                    raise
            if "alembic_version" in (tables := inspect(connection).get_table_names()):
                created: str | None = connection.scalar(_revision_in(connection))  # by another process, just now
                return created
            if tables:
                raise CatalogError(
                    f"{self.name} is not an mgmt catalog: it contains other tables, such as {min(tables)}",
                    next_step="use --catalog URL" if self.is_sqlite else _OWN_SCHEMA,
                )
            return None

    def _ensure_current(self) -> None:
        if self._is_current:
            return
        found = self.revision()
        if found is None:
            if self._initialize is None:
                raise CatalogError(f"there is no catalog at {self.name}", next_step="mgmt db upgrade")
            self._initialize(self)
        elif found < HEAD:
            raise CatalogError(
                f"the catalog {self.name} has the older schema {found}; this mgmt requires {HEAD}",
                next_step="mgmt db upgrade",
            )
        elif found > HEAD:
            raise CatalogError(
                f"the catalog {self.name} has the unknown schema {found}; this mgmt supports {HEAD}",
                next_step="use a newer mgmt",
            )
        self._is_current = True


def _revision_in(connection: Connection) -> Select[str]:
    """The statement for the revision of the catalog in the schema that new tables would get."""
    schema = None if connection.dialect.name == "sqlite" else connection.dialect.default_schema_name or None
    return select(column("version_num", String)).select_from(table("alembic_version", schema=schema))


def _refuse_encoding(connection: Connection, name: str) -> None:
    """Refuse to create a catalog in a database that cannot store every name; an existing one can still be used."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8" and "alembic_version" not in inspect(connection).get_table_names():
        raise CatalogError(
            f"{name} has the encoding {encoding}, which cannot store every name",
            next_step="createdb --template template0 --encoding UTF8 NAME",
        )


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


class _RoutedSession(Session):
    """Sends statements to the writing engine inside a transaction, and to the reading engine outside."""

    def __init__(self, database: Database) -> None:
        super().__init__(autoflush=False, expire_on_commit=False)
        self._database = database

    def get_bind(self, *_: Any, **__: Any) -> Engine:
        return self._database.bind()
