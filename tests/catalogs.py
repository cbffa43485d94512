"""The catalogs that tests give to mgmt, of either kind: asked in plain SQL, and changed behind its back.

A user's catalog belongs to the folder that is that user's home, so whoever makes another `Program` of the same home
has the same catalog. None of mgmt's own code reads or writes here.
"""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.behind import behind
from tests.postgresql import PostgreSQL

Row = tuple[Any, ...]
LONGEST_GOODBYE = 600
"""Seconds in which a server has seen that its client is gone, and undone what that had under way."""


class Catalog(Protocol):
    """What is recorded. In `statement` each `?` stands for one of `values`."""

    @property
    def url(self) -> str:
        """Where mgmt finds it."""
        ...

    def rows(self, statement: str, *values: object) -> list[Row]:
        """What another program sees in it now; nothing where there is none."""
        ...

    def change(self, statement: str, *values: object) -> int:
        """Do it, without mgmt's knowing, or the triggers that refuse it; returns how many rows that concerned."""
        ...

    def litter(self) -> list[str]:
        """What mgmt has begun to write beside it, and has not ended."""
        ...

    def remove(self) -> None:
        """Let it be as if nothing had ever been recorded."""
        ...

    def wait(self) -> None:
        """Until the server has ended what somebody began who is gone."""
        ...


class Catalogs(Protocol):
    """All catalogs of one kind."""

    def at(self, home: Path) -> Catalog:
        """That of whoever is at home there."""
        ...

    def copy(self, source: Path, target: Path) -> None:
        """Let the catalog of the home `target` be what that of `source` is, which nobody uses now."""
        ...

    def forget(self, home: Path) -> None:
        """Nobody is at home there any more."""
        ...


class SQLiteCatalog:
    """A file, which mgmt makes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def rows(self, statement: str, *values: object) -> list[Row]:
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement, values).fetchall()

    def change(self, statement: str, *values: object) -> int:
        with behind(self.path) as connection:
            return connection.execute(statement, values).rowcount

    def litter(self) -> list[str]:
        return sorted(map(str, self.path.parent.glob("*.partial*")))

    def remove(self) -> None:
        shutil.rmtree(self.path.parent)

    def wait(self) -> None:
        pass


class SQLiteCatalogs:
    """One for each home, in a folder of its own there."""

    def at(self, home: Path) -> SQLiteCatalog:
        return SQLiteCatalog(home / "catalog" / "catalog.db")

    def copy(self, source: Path, target: Path) -> None:
        before, after = self.at(source).path.parent, self.at(target).path.parent
        shutil.rmtree(after, ignore_errors=True)
        shutil.copytree(before, after)

    def forget(self, home: Path) -> None:
        shutil.rmtree(self.at(home).path.parent, ignore_errors=True)


class PostgreSQLCatalog:
    """A database of a server."""

    def __init__(self, server: PostgreSQL, url: str, empty: str) -> None:
        self._server, self.url, self._empty = server, url, empty

    def rows(self, statement: str, *values: object) -> list[Row]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(_marked(statement), values or None).fetchall()

    def change(self, statement: str, *values: object) -> int:
        import psycopg

        with psycopg.connect(self.url) as connection:
            guarded = connection.execute(
                "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
            )
            tables = [table for (table,) in guarded.fetchall()]
            for table in tables:
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            count = connection.execute(_marked(statement), values or None).rowcount
            for table in tables:
                connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())
            return count

    def litter(self) -> list[str]:
        return []

    def remove(self) -> None:
        self._server.copy_database(self._empty, self.url)

    def wait(self) -> None:
        others = (
            "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        until = time.monotonic() + LONGEST_GOODBYE
        while left := self.rows(others):
            assert time.monotonic() < until, left
            time.sleep(0.01)


class PostgreSQLCatalogs:
    """A database for each home, which has a catalog's schema, and no records."""

    def __init__(self, server: PostgreSQL, empty: str) -> None:
        """`empty` is the URL of one that has the schema."""
        self._server, self._empty = server, empty
        self._made: dict[Path, PostgreSQLCatalog] = {}

    def at(self, home: Path) -> PostgreSQLCatalog:
        if home not in self._made:
            self._made[home] = PostgreSQLCatalog(self._server, self._server.create_database(self._empty), self._empty)
        return self._made[home]

    def copy(self, source: Path, target: Path) -> None:
        before = self.at(source).url
        if target in self._made:
            self._server.copy_database(before, self._made[target].url)
        else:
            after = self._server.create_database(before)
            self._made[target] = PostgreSQLCatalog(self._server, after, self._empty)

    def forget(self, home: Path) -> None:
        if home in self._made:
            self._server.drop_database(self._made.pop(home).url)

    @contextmanager
    def dropped(self) -> Iterator[None]:
        """Those that are made meanwhile are gone afterwards."""
        before = set(self._made)
        yield
        for home in self._made.keys() - before:
            self.forget(home)


def _first_use(url: str) -> None:
    from mgmt.catalog import open_catalog

    catalog = open_catalog(url)
    catalog.metadata.list_files()
    catalog.close()


def _marked(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()


@contextmanager
def catalogs_on(server: PostgreSQL) -> Iterator[PostgreSQLCatalogs]:
    """Catalogs of this server, for as long as the `with` lasts."""
    empty = server.create_database()
    _first_use(empty)
    made = PostgreSQLCatalogs(server, empty)
    with made.dropped():
        yield made
    server.drop_database(empty)


SQLITE = SQLiteCatalogs()
