"""Copies that are no longer what was archived: what an operation has found, and what a look at local ones shows."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import zip_longest

from mgmt.archive import Skipped, Tree
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, MemberRecord, OperationRecord, Role, UploadRecord
from mgmt.catalog.files.verdicts import CHANGED, COPY, FAULT
from mgmt.catalog.records.types import display
from mgmt.services.steps.local_files import host
from mgmt.services.steps.move_original import same_as_archived
from mgmt.services.steps.safety_rules import Fault


def note_altered(record: OperationRecord, altered: Sequence[FileRecord], catalog: Catalog) -> None:
    """Commit that `record` has found these completed copies changed; they count no more until they are proven again."""
    found = [each for each in altered if each.location is Location.COMPLETED]
    if found:
        for each in found:
            catalog.journal.link(record, each, Role.COMPLETED)
        record.details = {**(record.details or {}), COPY: CHANGED}
        catalog.journal.checkpoint()


def note_faulty(record: OperationRecord, faulty: Mapping[FileRecord, str], catalog: Catalog) -> None:
    """Commit that `record` has found these archives at fault, and how; they count no more until they are verified."""
    if faulty and record.is_recorded:
        for each in faulty:
            catalog.journal.link(record, each, Role.ARCHIVE)
        found = {f"{FAULT}{each.id}": display(said) for each, said in faulty.items()}
        record.details = {**(record.details or {}), **found}
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


def differs(copy: FileRecord, catalog: Catalog) -> bool:
    """Whether the stat of a copy on this host, and of what is in it, shows that it is not what was archived.

    Nothing is read, so that False proves nothing. Raises RefusedError for what could not be archived.
    """
    upload = None if copy.operation_id is None else catalog.metadata.get_operation(copy.operation_id)
    if isinstance(upload, UploadRecord) and same_as_archived(copy.path, upload, moved=True):
        return False
    archive = next(iter(catalog.metadata.archives_of(str(copy.digest))), None)
    if archive is None or not catalog.members.count(archive.id):
        return False
    skipped: list[Skipped] = []
    root = None
    with closing(Tree(copy.path, copy.name).walk(skipped.append)) as entries:
        for entry, member in zip_longest(entries, _members(archive, catalog)):
            if entry is None or member is None or skipped:
                return True
            root = root or (len(entry.name), len(member.path))
            here, recorded = entry.name[root[0] :], member.path[root[1] :]
            has_other_size = member.type == "f" and entry.stat.st_size != member.size
            if here != recorded or has_other_size or entry.stat.st_mtime_ns != member.mtime_ns:
                return True
    return bool(skipped)


def _members(archive: FileRecord, catalog: Catalog) -> Iterator[MemberRecord]:
    after = None
    while page := catalog.members.list(archive.id, limit=10_000, after=after):
        yield from page
        after = page[-1].id
