"""How to replace an archive that is lost or damaged, from what else holds its content."""

import os
import shlex

from mgmt.catalog import Catalog, FileRecord
from mgmt.services.steps.local_files import host


def how_to_replace(archive: FileRecord, catalog: Catalog) -> str:
    """The commands that replace `archive`, which is missing or damaged, with one of the same content.

    They remove it only after another copy is proven, and store the copy as an archive of its own under the same key.
    """
    key, store = shlex.quote(str(archive.s3_object_key)), shlex.quote(str(archive.store))
    url = shlex.quote(f"{archive.store}/{archive.s3_object_key}")
    kept = "".join(f" --{each}" for each in ("owners", "xattrs") if f"{each}:" in (archive.kept or ""))
    copies = [] if archive.digest is None else catalog.metadata.copies_of(archive.digest)
    for copy in copies:
        if copy.host == host() and os.path.lexists(copy.path):
            again = f"mgmt --store {store} upload --keep --key {key}{kept} {shlex.quote(copy.path)}"
            return f"mgmt delete {url} && {again}"
    for other in [] if archive.digest is None else catalog.metadata.archives_of(archive.digest):
        if other.id != archive.id:
            return f"mgmt download {shlex.quote(f'{other.store}/{other.s3_object_key}')}; then upload what it restores"
    for copy in copies:
        if copy.host != host():
            return f"mgmt verify {url} on {copy.host}, which may still have {copy.path}"
    return f"mgmt status {key}   (no other copy is recorded: restore the object from a backup of the store)"
