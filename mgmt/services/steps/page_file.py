"""The file of a page: written aside and renamed. It replaces an earlier page, and nothing else."""

import os
import stat
import tempfile
from contextlib import suppress

from mgmt.archive import rename_noreplace
from mgmt.errors import ConfigurationError, ConflictError
from mgmt.paths import absolute, sync_folder

MARK = b'<meta name="generator" content="mgmt '
"""What a page of mgmt has among its first bytes."""
BEGINNING = 4096

PARTIAL = ".mgmt-partial"


def save(file: str, text: str) -> str:
    """Write the page to `file` and return its full path; `file` is the old page or the new one, never a part of it.

    A page of mgmt that is there already is replaced, and keeps its mode. Raises ConflictError if `file` is anything
    else, ConfigurationError if it cannot be written.
    """
    path = os.path.realpath(absolute(file))
    folder, name = os.path.split(path)
    try:
        mode = _mode_of_page(path)
        descriptor, partial = tempfile.mkstemp(prefix=f".{name[:50]}-", suffix=PARTIAL, dir=folder)
        try:
            with open(descriptor, "wb") as out:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                out.write(text.encode())
                out.flush()
                os.fsync(descriptor)
            _publish(partial, path, replace=mode is not None)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise
        _sync(folder)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", next_step="use another FILE") from error
    return path


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_folder(descriptor)
    finally:
        os.close(descriptor)


def _mode_of_page(path: str) -> int | None:
    """The mode of the page at `path`; None if nothing is there."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as there:
            if MARK in there.read(BEGINNING):
                return stat.S_IMODE(found.st_mode)
    raise _in_the_way(path)


def _publish(partial: str, path: str, *, replace: bool) -> None:
    if not replace:
        try:
            rename_noreplace(partial, path)
            return
        except ConflictError:
            _mode_of_page(path)  # another report may have been quicker
    os.replace(partial, path)


def _in_the_way(path: str) -> ConflictError:
    return ConflictError(f"{path} exists, and is not a page of mgmt", next_step="use another FILE, or move it away")
