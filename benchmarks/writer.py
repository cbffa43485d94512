"""Records small uploads in a catalog, one after another, and reports the longest wait of a write.

`python -m benchmarks.writer URL NUMBER SECONDS` prints "ready", waits for a line, and at the end prints the
number of uploads and the longest transaction in seconds.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.collection import archive
from benchmarks.recorder import a_record
from mgmt.catalog import Catalog, Role, UploadRecord, open_catalog

MEMBERS = 20


class Writer:
    """Performs the part of an upload that concerns the catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.uploads = 0
        self.longest = 0.0

    def upload(self, name: str) -> None:
        """Begin, record a stage, the archive and its members, and end."""
        target = f"/home/ann/{name}"
        with self._timed():
            recording = self._catalog.journal.record(UploadRecord(target_path=target), claim=target)
            upload = recording.__enter__()
        upload.stage = "sending"
        with self._timed():
            self._catalog.journal.checkpoint()
        with self._timed(), self._catalog.transaction():
            record = a_record(self._catalog, f"{name}.tar.gz")
            self._catalog.members.record(record.id, archive(self.uploads, MEMBERS))
            self._catalog.journal.link(upload, record, Role.ARCHIVE)
        with self._timed():
            recording.__exit__(None, None, None)
        with self._timed():
            self._catalog.members.index_names()
        self.uploads += 1

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.longest = max(self.longest, time.perf_counter() - began)


def main(url: str, number: str, seconds: str) -> None:
    """Record uploads for some seconds; stop at the first error."""
    catalog = open_catalog(url)
    writer = Writer(catalog)
    writer.upload(f"the first of {number}")
    writer.longest = 0.0
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        writer.upload(f"{number} of {writer.uploads}")
    catalog.close()
    print(writer.uploads, writer.longest)


if __name__ == "__main__":
    main(*sys.argv[1:])
