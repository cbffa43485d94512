"""Whether what is at a path now is what was archived from there, as its stat shows."""

import os

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, this_host
from mgmt.services.steps.local_files import moment, paths_meant
from mgmt.services.steps.safety_rules import Level, Safety, say
from mgmt.words import operand


def other_file(name: str, file: FileRecord, catalog: Catalog) -> Safety | None:
    """The safety of what is at the path `name` on this host, unless that is what was archived as `file`.

    None if nothing is there, if its stat is as recorded, or if `name` does not mean a path: a name of an archive means
    the archive, which is what it was. Of a folder, only its own stat is looked at. Nothing is read.
    """
    is_elsewhere = file.location is not Location.S3 and file.host != this_host()
    if os.sep not in name or name == file.s3_object_key or is_elsewhere:
        return None
    for path in sorted(paths_meant(name)):
        if not os.path.isabs(path):
            continue
        original = catalog.metadata.get_file_record(Place(Location.LOCAL, this_host(), path))
        if original is not None and original.digest == file.digest and _differs(original):
            return say(
                Level.UNPROVEN,
                f"the {'folder' if os.path.isdir(path) else 'file'} at {path} is not what was archived",
                f"run mgmt upload --on-conflict rename {operand(path)}",
            )
    return None


def _differs(original: FileRecord) -> bool:
    """Whether what is there has another size or time than was archived; a folder that was moved is another one."""
    if original.status not in (FileStatus.COMPLETED, FileStatus.DELETED):
        return False
    was_moved = original.status is FileStatus.DELETED
    try:
        found = os.lstat(original.path)
    except OSError:  # it is gone, or cannot be looked at
        return False
    if original.is_directory:
        return was_moved or original.modified_at not in (None, moment(found.st_mtime))
    unknown = () if was_moved else (None,)
    return original.size not in (found.st_size, *unknown) or original.modified_at not in (
        moment(found.st_mtime),
        *unknown,
    )
