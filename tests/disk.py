"""A folder on a disk, for tests of what a file system in memory does not do."""

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def folder_on_disk(preferred: Path) -> Iterator[Path]:
    """A new folder in `preferred`, or elsewhere, on a file system that reports writes through a mapping."""
    for parent in (preferred, Path(tempfile.gettempdir()), Path(__file__).parent, Path("/var/tmp"), Path.home()):
        if os.access(parent, os.W_OK) and _reports_mapped_writes(parent):
            folder = Path(tempfile.mkdtemp(prefix=".on-disk-", dir=parent))
            yield folder
            shutil.rmtree(folder)
            return
    pytest.skip("NOT TESTED: no file system here changes the times of a file written through a mapping (all tmpfs?)")


def _reports_mapped_writes(folder: Path) -> bool:
    """Whether, on the file system of `folder`, a write through a mapping after a sync changes the times."""
    path = folder / f"tried-{os.getpid()}"
    path.write_bytes(bytes(4096))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 1
        os.fsync(file.fileno())
        os.utime(path, ns=(0, 0))
        mapping[0] = 2
        changed = path.stat().st_mtime_ns != 0
    path.unlink()
    return changed
