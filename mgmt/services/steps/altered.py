"""Local copies that are no longer what was archived: what an operation has found, and what a look at them shows."""

import os
import stat
from collections.abc import Iterable, Sequence

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, OperationRecord, Role
from mgmt.catalog.files.verdicts import CHANGED, COPY
from mgmt.services.steps.local_files import host
from mgmt.services.steps.safety_rules import Fault


def note_altered(record: OperationRecord, altered: Sequence[FileRecord], catalog: Catalog) -> None:
    """Commit that `record` has found these completed copies changed; they count no more until they are proven again."""
    found = [each for each in altered if each.location is Location.COMPLETED]
    if found:
        for each in found:
            catalog.journal.link(record, each, Role.COMPLETED)
        record.details = {**(record.details or {}), COPY: CHANGED}
        catalog.journal.checkpoint()


def faults_of(copies: Iterable[FileRecord]) -> dict[int, Fault]:
    """What the stat of each of these copies shows to be wrong, by its id; only those on this host are looked at."""
    recorded = (each for each in copies if each.host == host() and each.status is FileStatus.COMPLETED)
    return {each.id: fault for each in recorded if (fault := fault_of(each)) is not None}


def fault_of(copy: FileRecord) -> Fault | None:
    """What the stat of a copy on this host shows to be wrong: that it is gone, of another type, or of another size."""
    try:
        found = os.lstat(copy.path)
    except (FileNotFoundError, NotADirectoryError):
        return Fault("is not there any more", is_gone=True)
    except OSError:  # nothing is known of what cannot be looked at
        return None
    if stat.S_ISDIR(found.st_mode) is not copy.is_directory:
        return Fault("is not what was archived")
    if stat.S_ISREG(found.st_mode) and copy.size is not None and found.st_size != copy.size:
        return Fault(f"has {found.st_size} bytes, not {copy.size} as archived")
    return None
