"""The mirror: JSON files beside the completed copies that say what they are, where they went, and what was done."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

from mgmt.archive import rename_noreplace
from mgmt.catalog import Catalog
from mgmt.catalog.db.flock import lock_with_timeout
from mgmt.catalog.files.completed_folders import Folders
from mgmt.errors import BusyError, ConflictError, MgmtError
from mgmt.paths import sync_folder
from mgmt.progress import Progress
from mgmt.services.steps.local_files import host
from mgmt.services.steps.mirror_files import BEGINNING, DOWNLOADS, FILES, OPERATIONS, PARTIAL, UPLOADS, is_mirror
from mgmt.signals import finish_first

_BEYOND_ASCII = re.compile("[^\x00-\x7e]")

WAIT = 30.0
"""Seconds to wait for another process that writes the same mirror."""


class Mirror:
    """Maintains the mirrors of a catalog: four files in each folder of completed copies on this machine.

    They are written from the catalog and never read: `.uploads.json`, `.downloads.json`, `.operations.json` and
    `.files.json`, each with the records that concern the folder. A file is replaced atomically and is
    readable by its owner only. A file of that name that is not a mirror is left unchanged.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Start to track what this process changes."""
        self._name = catalog.database.name
        self._folders = Folders(catalog.database, host())

    def write(self, progress: Progress) -> None:
        """Write each mirror that this process made out of date; a failure is only noted."""
        finish_first()  # the command itself is done, so an interruption must not make it fail
        try:
            folders = self._folders.changed()
        except MgmtError as error:
            progress.note(f"note: the mirrors are not up to date, as {error.message}")
            return
        for folder in folders:
            try:
                self._write(folder)
            except FileNotFoundError:
                pass  # the folder is gone, or its disk is not mounted: so is its mirror
            except OSError as error:
                progress.note(f"note: the mirror in {folder} is not up to date: {error.strerror}")
            except MgmtError as error:
                progress.note(f"note: the mirror in {folder} is not up to date, as {error.message}")

    def _write(self, folder: str) -> None:
        contents: dict[str, Callable[[str], Iterable[dict[str, Any]]]] = {
            UPLOADS: self._folders.uploads,
            DOWNLOADS: self._folders.downloads,
            OPERATIONS: self._folders.operations,
            FILES: self._folders.files,
        }
        stays = None
        with _locked(folder) as descriptor:
            for name, records in contents.items():
                path, partial = os.path.join(folder, name), os.path.join(folder, PARTIAL)
                with _private(partial) as file:
                    self._print(file, folder, records(folder))
                try:
                    _give_name(partial, path)
                except ConflictError as error:
                    stays = error  # the others are still written
            sync_folder(descriptor)
        if stays is not None:
            raise stays

    def _print(self, file: BinaryIO, folder: str, records: Iterable[dict[str, Any]]) -> None:
        facts = {"folder": folder, "host": host(), "catalog": self._name, "written_at": datetime.now(UTC)}
        file.write(BEGINNING)
        for name, value in facts.items():
            file.write(f'  "{name}": {_json(value)},\n'.encode())
        file.write(b'  "records": [')
        separator = "\n    "
        for record in records:
            file.write((separator + _json(record).replace("\n", "\n    ")).encode())
            separator = ",\n    "
        file.write(b"\n  ]\n}\n")


@contextmanager
def _locked(folder: str) -> Iterator[int]:
    """A descriptor of `folder`, locked against other processes that write its mirror."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not lock_with_timeout(descriptor, WAIT):
        raise BusyError("another process is writing it")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _private(path: str) -> Iterator[BinaryIO]:
    """A new file at `path` that only its owner may read, synced at the end. A leftover is truncated."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(path)
            raise


def _give_name(partial: str, path: str) -> None:
    if is_mirror(path):
        os.replace(partial, path)
        return
    try:
        rename_noreplace(partial, path)
    except MgmtError as error:
        os.unlink(partial)
        if isinstance(error, ConflictError):
            raise ConflictError(f"{path} is not a mirror file; left unchanged") from error
        raise


def _json(value: object) -> str:
    """JSON with printable characters as they are, and all others escaped: a terminal may show it."""
    text = json.dumps(value, indent=2, default=_text, ensure_ascii=False)
    return _BEYOND_ASCII.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def _text(value: object) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
