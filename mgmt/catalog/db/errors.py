"""Translate database errors into CatalogErrors: one line that says what failed and what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mgmt.errors import CatalogError, ReadOnlyCatalogError

_SQLITE = {
    sqlite3.SQLITE_BUSY: ("is locked by another program", "find it with `fuser`, or try again later"),
    sqlite3.SQLITE_LOCKED: ("is locked by another program", "find it with `fuser`, or try again later"),
    sqlite3.SQLITE_READONLY: (
        "cannot be written: it is read-only here",
        "check the permissions of the file and its folder",
    ),
    sqlite3.SQLITE_FULL: ("cannot be written: the disk is full", "free some space"),
    sqlite3.SQLITE_NOTADB: ("is not a catalog: the file is not an SQLite database", "restore it from a backup"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "restore it from a backup, or run `mgmt db rebuild`"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check that its folder exists and is writable"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: input/output error", "check the disk"),
    sqlite3.SQLITE_PERM: ("may not be used: permission denied", "check the permissions of the file and its folder"),
    sqlite3.SQLITE_AUTH: ("may not be used: permission denied", "check the permissions of the file and its folder"),
}

# The class of an SQLSTATE is its first two characters (PostgreSQL, appendix A).
_POSTGRESQL = {
    "08": ("cannot be reached", "check that the server runs"),
    "08007": (
        "is unreachable: the connection was lost during COMMIT, and the outcome is unknown",
        "mgmt recover",
    ),
    "57P": ("cannot be reached: the server is starting or stopping", "try again"),
    "28": ("cannot be used: the login was refused", "check user and password"),
    "3D": ("does not exist", "create the database"),
    "42501": ("may not be used: permission denied", "ask its administrator for the rights"),
    "25006": ("cannot be written: it is read-only here", "use the primary server"),
    "22P05": (
        "cannot store this name: the encoding of its database is not UTF8",
        "pg_dump -E UTF8, and restore it to a database that was created with: createdb -T template0 -E UTF8",
    ),
    "53100": ("cannot be written: the disk is full", "free some space on the server"),
    "53": ("has no resources left", "try again later"),
    "55P03": ("is locked by another session", "try again later"),
    "XX001": ("is damaged", "restore it from a backup"),
    "XX002": ("is damaged", "restore it from a backup"),
}

_READ_ONLY = (_SQLITE[sqlite3.SQLITE_READONLY], _POSTGRESQL["25006"], _POSTGRESQL["42501"])
"""Nothing can be written here, or not by this login."""

_FATAL = "FATAL:  "
"""The prefix of a server's reason for rejecting a connection, for which psycopg reports no SQLSTATE."""

_LOST = (
    "is unreachable: the connection was lost, and uncommitted changes are rolled back",
    "run the same command again to resume",
)


def describe(error: BaseException, name: str) -> CatalogError:
    """Return the CatalogError for an `error` of the driver or of SQLAlchemy, for the catalog called `name`.

    Bound values never appear: `name` contains no password, and only the first line of the driver's message is repeated,
    and only for an error that is not listed above.
    """
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error):
        known = _SQLITE.get(getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF)
    else:
        state = getattr(cause, "sqlstate", None)
        known = _of_state(state, unreachable=type(cause).__name__ == "OperationalError")
        if state is None and isinstance(error, DBAPIError) and error.connection_invalidated:
            known = _LOST
        if state is None and _FATAL in str(cause):  # the server was reached and gave a reason
            reason = str(cause).rpartition(_FATAL)[2].splitlines()[0]
            known = (f"rejected the connection: {reason}", "check the catalog's URL, or try again later")
    if known is not None:
        kind = ReadOnlyCatalogError if known in _READ_ONLY else CatalogError
        return kind(f"the catalog {name} {known[0]}", next_step=known[1])
    message = next(iter(str(cause).splitlines()), "") or type(cause).__name__
    return CatalogError(f"the catalog {name} returned an error: {message}")


def is_missing_table(error: DBAPIError) -> bool:
    """Whether the statement named a table, or a schema, that does not exist."""
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig).startswith("no such table")
    return getattr(error.orig, "sqlstate", None) in ("42P01", "3F000")


def _of_state(state: str | None, *, unreachable: bool) -> tuple[str, str] | None:
    if state is None:
        return _POSTGRESQL["08"] if unreachable else None
    return next((_POSTGRESQL[state[:n]] for n in (5, 3, 2) if state[:n] in _POSTGRESQL), None)


def _interruption(error: BaseException) -> KeyboardInterrupt | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    return cause


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Raise what SQLAlchemy or the driver raises inside as a CatalogError; a KeyboardInterrupt among it stays one."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        if (stop := _interruption(error)) is not None:  # SQLAlchemy was interrupted, and raised its own error
            raise stop from None
        raise describe(error, name) from error
