"""The files of a mirror, and how they are told from the user's own: by their names and their first bytes."""

import os
from contextlib import suppress

UPLOADS, DOWNLOADS, OPERATIONS, FILES = ".uploads.json", ".downloads.json", ".operations.json", ".files.json"
PARTIAL = ".mgmt-mirror.partial"
BEGINNING = b'{\n  "mgmt": "a mirror of the catalog",\n'


def is_mirror(path: str) -> bool:
    """Whether `path` is a file of a mirror, or the partial one of a killed process."""
    name = os.path.basename(path)
    if name == PARTIAL:
        return True
    if name in (UPLOADS, DOWNLOADS, OPERATIONS, FILES) and not os.path.islink(path):
        with suppress(OSError), open(path, "rb") as file:
            return file.read(len(BEGINNING)) == BEGINNING
    return False
