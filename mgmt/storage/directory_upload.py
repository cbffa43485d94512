"""An upload to a directory store."""

import os
from collections.abc import Callable
from io import FileIO

from mgmt.choices import DEFAULT_PART_SIZE
from mgmt.storage.beneath import translated, write_all
from mgmt.storage.checksums import Crc64Nvme
from mgmt.storage.store import Sent, StoredObject, Transfer


class DirectoryUpload:
    """An `Upload` (see store.py) into one file, in the calling thread."""

    def __init__(
        self,
        file: FileIO,
        where: str,
        transfer: Transfer,
        *,
        publish: Callable[[int], StoredObject],
        remove: Callable[[], None],
    ) -> None:
        self.part_size = transfer.part_size or DEFAULT_PART_SIZE
        self.parts_sent = 0
        self.parts_skipped = 0
        self._file = file
        self._where = where
        self._publish = publish
        self._remove = remove
        self._on_sent = transfer.on_sent or (lambda _: None)
        self._size = 0
        self._checksum = Crc64Nvme()
        self._same = 0
        """Bytes from the beginning that an interrupted run has already written."""
        self._sent: Sent | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`, unless an interrupted run has already written it."""
        with translated(self._where):
            descriptor = self._file.fileno()
            if self._same == self._size and os.pread(descriptor, len(data), self._size) == data:
                self._same += len(data)
            else:
                if self._same == self._size:
                    os.ftruncate(descriptor, self._size)
                write_all(descriptor, data, self._size)
        self._size += len(data)
        self._checksum.update(data)
        self._on_sent(len(data))

    def finish(self) -> Sent:
        """Sync everything to disk."""
        if self._sent is None:
            with translated(self._where):
                os.ftruncate(self._file.fileno(), self._size)
                os.fsync(self._file.fileno())
            parts = max(1, -(-self._size // self.part_size))
            self.parts_skipped = parts if self._same == self._size > 0 else self._same // self.part_size
            self.parts_sent = parts - self.parts_skipped
            self._sent = Sent(self._size, str(self._checksum), parts, self.part_size)
            self.close()
        return self._sent

    def complete(self) -> StoredObject:
        """Publish the file under its key, without replacing one."""
        return self._publish(self.finish().size)

    def abort(self) -> None:
        """Remove what was written."""
        self.close()
        self._remove()

    def close(self) -> None:
        """Close the file and leave it in the store."""
        self._file.close()
