"""How to replace an archive that is lost or damaged, from what else holds its content."""

import os

from mgmt.catalog import Catalog, FileRecord
from mgmt.services.steps.local_files import host
from mgmt.words import shell_word


def how_to_replace(archive: FileRecord, catalog: Catalog) -> str | None:
    """The commands that replace `archive`, which is missing or damaged, with one of the same content.

    They remove it only after another copy is proven, and store the copy as an archive of its own under the same key.
    Returns None when no other copy is recorded.
    """
    if archive.digest is None:
        return None
    key, store = shell_word(str(archive.s3_object_key)), shell_word(str(archive.store))
    url = shell_word(f"{archive.store}/{archive.s3_object_key}")
    kept = "".join(f" --{each}" for each in ("owners", "xattrs") if f"{each}:" in (archive.kept or ""))
    copies = catalog.metadata.copies_of(archive.digest)
    for copy in copies:
        if copy.host == host() and os.path.lexists(copy.path):
            again = f"mgmt --store {store} upload --keep --key {key}{kept} {shell_word(copy.path)}"
            return f"mgmt delete {url} && {again}"
    for other in catalog.metadata.archives_of(archive.digest):
        if other.id != archive.id:
            return f"mgmt download {shell_word(f'{other.store}/{other.s3_object_key}')}   (then: mgmt verify {url})"
    for copy in copies:
        if copy.host != host():
            return f"mgmt verify {url}   (on {copy.host}, which may still have {shell_word(copy.path)})"
    return None


def without_another_copy(archive: FileRecord, *, is_missing: bool) -> str:
    """What to do about an archive of which no other copy is recorded."""
    url = shell_word(f"{archive.store}/{archive.s3_object_key}")
    if is_missing:
        return f"mgmt delete --last-copy {url}   (if it is lost for good: no other copy is recorded)"
    return f"mgmt status {url}   (no other copy is recorded: restore the object from a backup of the store)"
