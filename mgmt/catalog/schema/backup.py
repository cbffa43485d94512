"""Backups of an SQLite catalog. A backup gets its name only once it is complete."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from glob import escape, glob
from typing import Any

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.errors import translate_errors
from mgmt.errors import CatalogError, ConfigurationError, ConflictError
from mgmt.paths import absolute, sync_folder

PARTIAL = ".partial"
"""The suffix of a file until it is complete."""


def backup(database: Database, file: str) -> str:
    """Copy an SQLite catalog, even in use, to the new `file` (0600), check the copy, and return its full path.

    Raises ConflictError if `file` exists, CatalogError if the copy fails or is damaged.
    """
    if not database.is_sqlite:
        raise ConfigurationError("mgmt does not back up a PostgreSQL catalog", next_step="use pg_dump")
    with new_file(file) as path:
        _copy(database, path + PARTIAL)
    return absolute(file)


@contextmanager
def new_file(file: str) -> Iterator[str]:
    """Create `file` atomically: yields its full path, and publishes it, synced, when the block succeeds.

    The caller writes the content to the private file with the suffix PARTIAL. Raises ConflictError if `file` exists.
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
        sync_folder(folder)
    finally:
        os.close(folder)


def remove_partial_backups(database: Database) -> None:
    """Remove the partial backups of killed upgrades. The caller holds the catalog's lock, so no upgrade is running."""
    for path in glob(f"{escape(str(database.path))}.*-*T*Z.backup{PARTIAL}*"):
        with suppress(FileNotFoundError):
            os.unlink(path)


@contextmanager
def _partial(path: str) -> Iterator[int]:
    """An empty private file, locked against other processes and removed when the block ends."""
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
            os.ftruncate(descriptor, 0)  # a killed process may have left content
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
        os.link(partial, path)  # unlike a rename, a link never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a filesystem without hard links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.replace(partial, path)


def _copy(database: Database, path: str) -> None:
    with (
        database.connection() as connection,
        translate_errors(path),
        closing(sqlite3.connect(path, isolation_level=None)) as copy,
    ):
        driver: Any = connection.connection.driver_connection
        driver.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # a single file, without a -wal
        verdict = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise CatalogError(
                f"the catalog {database.name} is damaged: {verdict}", next_step="restore it from a backup"
            )


def _exists(path: str) -> ConflictError:
    return ConflictError(f"{path} already exists", next_step="choose another file")
