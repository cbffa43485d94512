"""How the files of a mirror are told from the user's own: by their names, and by how they begin."""

import os
from contextlib import suppress

UPLOADS, DOWNLOADS, OPERATIONS, FILES = ".uploads.json", ".downloads.json", ".operations.json", ".files.json"
PARTIAL = ".mgmt-mirror.partial"
BEGINNING = b'{\n  "mgmt": "a mirror of the catalog",\n'


def is_mirror(path: str) -> bool:
    """Whether `path` is a file of a mirror, or what a killed process has left of one: mgmt's, not the user's."""
    name = os.path.basename(path)
    if name == PARTIAL:
        return True
    if name in (UPLOADS, DOWNLOADS, OPERATIONS, FILES) and not os.path.islink(path):
        with suppress(OSError), open(path, "rb") as file:
            return file.read(len(BEGINNING)) == BEGINNING
    return False
