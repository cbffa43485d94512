"""A catalog that is only read, over a long time and by several threads: what `mgmt browse` shows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from sqlalchemy import URL

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.engine import connect_read_only, parse
from mgmt.errors import BusyError, ReadOnlyCatalogError

READERS = 4
"""How many threads read at a time; on PostgreSQL each has a connection, and a login may have few."""

WAIT_SECONDS = 10.0
"""How long another one waits for its turn."""


class _ReadOnlyDatabase(Database):
    """A database whose connections cannot write; `transaction` is refused before anything is locked."""

    def transaction(self) -> NoReturn:
        raise ReadOnlyCatalogError(f"the catalog {self.name} is opened to be read only")


class ReadOnly:
    """The catalog at a URL, which is opened for each look at it: it may be upgraded, moved or replaced between two."""

    def __init__(self, url: str | URL) -> None:
        """Raises ConfigurationError for a URL of another kind. It connects at the first look."""
        self._url = parse(url)
        self._engine = connect_read_only(self._url)
        self._turns = threading.BoundedSemaphore(READERS)

    @contextmanager
    def look(self) -> Iterator[Database]:
        """The database as it is now, with a session of its own. No transaction is open afterwards.

        Raises CatalogError if it cannot be read, and BusyError if too many others read it.
        """
        if not self._turns.acquire(timeout=WAIT_SECONDS):
            raise BusyError("the catalog is being read by too many others", next_step="try again")
        try:
            database = _ReadOnlyDatabase(self._url, wal=False, engines=(self._engine, self._engine))
            try:
                with database.reading():  # one that is missing, older or newer is refused
                    pass
                yield database
            finally:
                database.close()
        finally:
            self._turns.release()

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()
