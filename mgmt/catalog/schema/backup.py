"""A copy of an SQLite catalog, which has its name only when it is whole."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from glob import escape, glob
from typing import Any

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.errors import translated
from mgmt.errors import CatalogError, ConfigurationError, ConflictError
from mgmt.paths import absolute

PARTIAL = ".partial"
"""What a file is called, after its own name, until it is whole."""


def backup(database: Database, file: str) -> str:
    """Copy an SQLite catalog, in use or not, to the new `file` (0600), check the copy, and return its full path.

    Raises ConflictError when `file` exists, CatalogError when the copy is not sound, or cannot be made.
    """
    if not database.is_sqlite:
        raise ConfigurationError("a PostgreSQL catalog is not copied by mgmt", next_step="use pg_dump")
    with new_file(file) as path:
        _copy(database, path + PARTIAL)
    return absolute(file)


@contextmanager
def new_file(file: str) -> Iterator[str]:
    """The full path of `file`, which does not exist, and is there, synced, when the block is left in peace.

    What it is to hold is written to the private file of the same name and PARTIAL. Raises ConflictError when `file`
    exists.
    """
    path = absolute(file)
    if os.path.lexists(path):
        raise _exists(path)
    with _partial(path + PARTIAL) as descriptor:
        yield path
        os.fsync(descriptor)
        try:
            _publish(path + PARTIAL, path)
        except FileExistsError as error:
            raise _exists(path) from error
        except OSError as error:
            raise CatalogError(f"{path} cannot be created: {error.strerror}") from error
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_cut_off(database: Database) -> None:
    """Remove what killed upgrades have left of their backups; the caller has the catalog's lock, so none is at work."""
    for path in glob(f"{escape(str(database.path))}.*-*T*Z.backup{PARTIAL}*"):
        with suppress(FileNotFoundError):
            os.unlink(path)


@contextmanager
def _partial(path: str) -> Iterator[int]:
    """An empty private file that no other process uses, for as long as the block lasts."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CatalogError(f"{path} cannot be created: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"{path}: another process is writing this file") from error
        try:
            os.ftruncate(descriptor, 0)  # a killed process may have left some
            with suppress(FileNotFoundError):
                os.unlink(f"{path}-journal")
            yield descriptor
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
    finally:
        os.close(descriptor)


def _publish(partial: str, path: str) -> None:
    try:
        os.link(partial, path)  # unlike a rename, it never replaces anything
    except FileExistsError:
        raise
    except OSError:  # a filesystem without hard links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.replace(partial, path)


def _copy(database: Database, path: str) -> None:
    with (
        database.connection() as connection,
        translated(path),
        closing(sqlite3.connect(path, isolation_level=None)) as copy,
    ):
        driver: Any = connection.connection.driver_connection
        driver.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
        verdict = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise CatalogError(
                f"the catalog {database.name} is damaged: {verdict}", next_step="restore it from a backup"
            )


def _exists(path: str) -> ConflictError:
    return ConflictError(f"{path} exists, and nothing is overwritten", next_step="name another file")
