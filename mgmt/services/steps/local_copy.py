"""A local copy of the tar.gz (`--keep-archive`), beside the one in the store.

The record says where the copy will be before anything is written; the copy gets that name when the archive is proven.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import BinaryIO

from mgmt.archive import fsync_folder, make_folders, partial_name, rename_noreplace
from mgmt.catalog import UploadRecord
from mgmt.errors import ConflictError, RefusedError
from mgmt.paths import folder_to_make, longest_name
from mgmt.services.steps.local_files import token

GZIP = "application/gzip"
"""The MIME type of a copy that is an archive itself."""


def announce_copy(record: UploadRecord, folder: str, key: str) -> None:
    """Record where the copy will be. Raises ConflictError when the name is taken."""
    folder = folder_to_make(folder)
    make_folders(folder)
    path = os.path.join(folder, os.path.basename(key))
    if os.path.lexists(path):
        raise ConflictError(
            f"{path} exists, and nothing is ever overwritten", next_step="mgmt upload --keep-archive DIR ..."
        )
    if len(os.fsencode(os.path.basename(path))) > longest_name(folder):
        raise RefusedError(f"{path} would have a longer name than its disk permits", next_step="use another --key")
    record.compressed_file_path = path


@contextmanager
def local_copy(record: UploadRecord) -> Iterator[BinaryIO | None]:
    """A file to write the announced copy to, removed when the block fails. None when no copy is announced."""
    if record.compressed_file_path is None:
        yield None
        return
    path = _temporary(record)
    try:
        with open(path, "wb", opener=partial(os.open, mode=0o600)) as file:  # whatever the umask is in other threads
            yield file
    except BaseException:  # the catalog may be unreachable, so the record cannot be asked
        with suppress(FileNotFoundError):
            os.unlink(path)
        record.compressed_file_path = None
        raise


def on_disk(copy: BinaryIO) -> None:
    """Sync the copy to disk."""
    copy.flush()
    os.fsync(copy.fileno())


def publish_copy(record: UploadRecord) -> None:
    """Give the announced copy its name unless that is done. Raises ConflictError."""
    if record.compressed_file_path is not None and os.path.lexists(_temporary(record)):
        try:
            rename_noreplace(_temporary(record), record.compressed_file_path)
        except ConflictError:
            remove_copy(record)
            raise
        fsync_folder(os.path.dirname(record.compressed_file_path))


def remove_copy(record: UploadRecord) -> None:
    """Remove what was written of a copy that does not have its name yet."""
    if record.compressed_file_path is not None:
        with suppress(FileNotFoundError):
            os.unlink(_temporary(record))
        record.compressed_file_path = None


def _temporary(record: UploadRecord) -> str:
    folder = os.path.dirname(str(record.compressed_file_path))
    return os.path.join(folder, partial_name(token(record.operation_id)))
