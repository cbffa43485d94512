"""A local copy of the tar.gz (`--keep-archive`), beside the one in the store.

The record says where the copy will be before anything is written; the copy gets that name when the archive is proven.
"""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import BinaryIO

from mgmt.archive import fsync_folder, make_folders, partial_name, rename_noreplace
from mgmt.catalog import UploadRecord
from mgmt.errors import BusyError, CatalogError, ConflictError, RefusedError
from mgmt.paths import folder_to_make, longest_name
from mgmt.services.steps.local_files import token

GZIP = "application/gzip"
"""The MIME type of a copy that is an archive itself."""


class CopyTakenError(ConflictError):
    """The name of the copy is taken, on this machine: no other key is tried, and the target is not skipped."""


def copy_path(folder: str, key: str, others: Collection[str] = ()) -> str:
    """Where the copy of the archive `key` will be. Changes nothing.

    Raises CopyTakenError when the name is taken, or is that of one of the `others`, which will be there by then.
    """
    folder = folder_to_make(folder)
    path = os.path.join(folder, os.path.basename(key))
    if path in others or os.path.lexists(path):
        raise _taken(path)
    if len(os.fsencode(os.path.basename(path))) > longest_name(folder):
        raise RefusedError(f"{path} would have a longer name than its disk permits", next_step="use another --key")
    return path


def announce_copy(record: UploadRecord, folder: str, key: str) -> None:
    """Record where the copy will be, and make its folder. Raises as `copy_path` does."""
    path = copy_path(folder, key)
    make_folders(os.path.dirname(path))
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


def unpublished_copy(record: UploadRecord) -> str | None:
    """Where the announced copy will be; None if there is none, or it has its name already.

    Raises CopyTakenError when the name is taken. Changes nothing.
    """
    path = record.compressed_file_path
    if path is None or not os.path.lexists(_temporary(record)):
        return None
    if os.path.lexists(path):
        raise _taken(path)
    return path


def is_published(record: UploadRecord) -> bool:
    """Whether the announced copy has its name: what is there may be another file, if its name was taken."""
    path = record.compressed_file_path
    if path is None or not os.path.lexists(path):
        return False
    found = os.lstat(path)
    return stat.S_ISREG(found.st_mode) and found.st_size == record.compressed_size


def is_kept(record: UploadRecord) -> bool:
    """Whether the announced copy is there, under its name or before it gets that."""
    return record.compressed_file_path is not None and (os.path.lexists(_temporary(record)) or is_published(record))


def publish_copy(record: UploadRecord) -> None:
    """Give the announced copy its name unless that is done. Raises CopyTakenError; the copy is removed then."""
    path = record.compressed_file_path
    if path is not None and os.path.lexists(_temporary(record)):
        try:
            rename_noreplace(_temporary(record), path)
        except ConflictError as exc:
            remove_copy(record)
            raise _taken(path) from exc
        fsync_folder(os.path.dirname(path))


def remove_copy(record: UploadRecord) -> None:
    """Remove what was written of a copy that does not have its name yet."""
    if record.compressed_file_path is not None:
        with suppress(FileNotFoundError):
            os.unlink(_temporary(record))
        record.compressed_file_path = None


@contextmanager
def removed_on_failure(record: UploadRecord) -> Iterator[None]:
    """Remove what was written of the announced copy when the block fails, and the operation with it."""
    try:
        yield
    except (CatalogError, BusyError):  # it does not end here: it is resumed, or another process has it
        raise
    except BaseException:
        remove_copy(record)
        raise


def _taken(path: str) -> CopyTakenError:
    return CopyTakenError(
        f"{path} exists, so the copy of the archive cannot have that name",
        next_step="mgmt upload --keep-archive DIR ...\n# another folder; or move that file away",
    )


def _temporary(record: UploadRecord) -> str:
    folder = os.path.dirname(str(record.compressed_file_path))
    return os.path.join(folder, partial_name(token(record.operation_id)))
