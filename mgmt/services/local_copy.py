"""A copy of the tar.gz in a folder (`--keep-archive`), beside the one in the store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mgmt.archive import fsync_folder, make_folders, rename_noreplace
from mgmt.catalog import UploadRecord
from mgmt.errors import ConflictError
from mgmt.services.files import token


class LocalCopy:
    """A file that gets its name only when all of it is there, and is on disk."""

    def __init__(self, folder: str, key: str, operation_id: str) -> None:
        """Raise ConflictError when the name is taken."""
        make_folders(folder)
        self._folder = os.path.realpath(folder)
        self._path = os.path.join(self._folder, os.path.basename(key))
        if os.path.lexists(self._path):
            raise ConflictError(
                f"{self._path} exists, and nothing is ever overwritten", next_step="mgmt upload --keep-archive DIR ..."
            )
        self._temporary = os.path.join(self._folder, f".mgmt-{token(operation_id)}.partial")
        self._file = open(self._temporary, "wb")  # noqa: SIM115 - closed by close()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._file.write(data)

    def keep(self) -> str:
        """Give the copy its name; returns its path."""
        self._file.flush()
        os.fsync(self._file.fileno())
        rename_noreplace(self._temporary, self._path)
        fsync_folder(self._folder)
        return self._path

    def close(self) -> None:
        """Remove what was not kept."""
        self._file.close()
        if os.path.exists(self._temporary):
            os.unlink(self._temporary)


@contextmanager
def local_copy(folder: str | None, key: str, record: UploadRecord) -> Iterator[LocalCopy | None]:
    """A copy in `folder` for as long as the block lasts, unless it is kept; None without a folder."""
    if folder is None:
        yield None
        return
    copy = LocalCopy(folder, key, record.operation_id)
    try:
        yield copy
    finally:
        copy.close()
