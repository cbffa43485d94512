"""The catalogs that tests give to mgmt, SQLite and PostgreSQL: read in plain SQL, and changed behind its back.

A catalog belongs to the home folder of a user, so two `Program`s with the same home share it. None of mgmt's own code
reads or writes here.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.behind import behind
from tests.postgresql import PostgreSQL
from tests.waiting import until

Row = tuple[Any, ...]


class Catalog(Protocol):
    """A catalog. In `statement`, each `?` is a placeholder for one of `values`."""

    @property
    def url(self) -> str:
        """Its URL, for mgmt."""
        ...

    def rows(self, statement: str, *values: object) -> list[Row]:
        """The rows that another program sees now; none if there is no catalog."""
        ...

    def change(self, statement: str, *values: object) -> int:
        """Run a statement without mgmt and without triggers; returns the number of affected rows."""
        ...

    def litter(self) -> list[str]:
        """Unfinished files of mgmt beside it."""
        ...

    def remove(self) -> None:
        """Remove all records."""
        ...

    def wait(self) -> None:
        """Wait until the server has ended all other connections."""
        ...


class Catalogs(Protocol):
    """All catalogs of one kind."""

    def at(self, home: Path) -> Catalog:
        """The catalog of this home."""
        ...

    def copy(self, source: Path, target: Path) -> None:
        """Replace the catalog of the home `target` by a copy of that of `source`, which must not be in use."""
        ...

    def forget(self, home: Path) -> None:
        """Remove the catalog of a home that is not needed any more."""
        ...


class SQLiteCatalog:
    """A file, which mgmt creates."""

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
    """A catalog for each home, in a folder of its own there."""

    def at(self, home: Path) -> SQLiteCatalog:
        return SQLiteCatalog(home / "catalog" / "catalog.db")

    def copy(self, source: Path, target: Path) -> None:
        before, after = self.at(source).path.parent, self.at(target).path.parent
        shutil.rmtree(after, ignore_errors=True)
        shutil.copytree(before, after)

    def forget(self, home: Path) -> None:
        shutil.rmtree(self.at(home).path.parent, ignore_errors=True)


class PostgreSQLCatalog:
    """A database on a server."""

    def __init__(self, server: PostgreSQL, url: str, empty: str) -> None:
        self._server, self.url, self._empty = server, url, empty

    def rows(self, statement: str, *values: object) -> list[Row]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(_with_placeholders(statement), values or None).fetchall()

    def change(self, statement: str, *values: object) -> int:
        import psycopg

        with psycopg.connect(self.url) as connection:
            guarded = connection.execute(
                "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
            )
            tables = [table for (table,) in guarded.fetchall()]
            for table in tables:
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            count = connection.execute(_with_placeholders(statement), values or None).rowcount
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
        until(lambda: not self.rows(others), "the end of all other connections")


class PostgreSQLCatalogs:
    """A database for each home, created with the schema of a catalog and without records."""

    def __init__(self, server: PostgreSQL, empty: str) -> None:
        """`empty` is the URL of a database with the schema."""
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
        """Drop, at the end, the databases created meanwhile."""
        before = set(self._made)
        yield
        for home in self._made.keys() - before:
            self.forget(home)


def _create_schema(url: str) -> None:
    from mgmt.catalog import open_catalog

    catalog = open_catalog(url)
    catalog.metadata.list_files()
    catalog.close()


def _with_placeholders(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()


@contextmanager
def catalogs_on(server: PostgreSQL) -> Iterator[PostgreSQLCatalogs]:
    """Catalogs on this server, as long as the `with` lasts."""
    empty = server.create_database()
    _create_schema(empty)
    made = PostgreSQLCatalogs(server, empty)
    with made.dropped():
        yield made
    server.drop_database(empty)


SQLITE = SQLiteCatalogs()
