"""The status of one file or operation, with all that is known about it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mgmt.catalog import Catalog, FileRecord, Location, OperationRecord, Place, Status, StatusRecord, this_host
from mgmt.errors import MgmtError, NotFoundError, ProblemError
from mgmt.services.steps.altered import faults_of
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import paths_meant
from mgmt.services.steps.other_file import other_file
from mgmt.services.steps.proof import still_there
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.safety import not_in_catalog, safety_of
from mgmt.services.steps.thaw import states
from mgmt.storage import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatusReport:
    """What is known about a file; `stored` is the store's answer, `problem` says why there is none.

    Of an original or a copy, the answer is about the archive of its content, the first of `archives`.
    """

    type: str = "file"
    level: str
    """How safe it is, in a word: safe, unproven, at risk or deleted (see safety.py)."""
    sentence: str
    """Whether it is safe, why, and what to do."""
    file: FileRecord | None
    stored: StoredObject | None
    problem: str | None
    cold: str | None
    """Of a frozen archive: frozen, thawing, ready or expired, as far as the catalog knows."""
    members: int
    archives: list[FileRecord]
    copies: list[FileRecord]
    history: list[OperationRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationReport:
    """What is known about an operation."""

    type: str = "operation"
    operation: OperationRecord
    files: list[FileRecord]
    statuses: Mapping[str, int]
    """How many operations of a batch have each status; what was tried again in it counts once."""
    failed: list[OperationRecord]
    """Those of a batch that failed, wholly or in part, or were cancelled; the newest first, a hundred at most."""
    children: list[OperationRecord]
    """Those of a batch; the newest first, a thousand at most."""


def status(name: str, context: Context, *, host: str | None) -> FileStatusReport | OperationReport:
    """Everything known about the file or operation that `name` means. Raises NotFoundError when there is none.

    A local file is one on `host`, or for None on any host.
    """
    catalog = context.catalog
    record = StatusRecord(target_path=name, target_name=name, command_args=dict(context.command_args))
    with catalog.journal.record(record, unrecorded=context.note_unrecorded):
        operation = catalog.metadata.get_operation(name)
        if operation is None:
            return _file_status(name, context, host)
        return OperationReport(
            operation=operation,
            files=list({file.id: file for file, _ in catalog.metadata.files_of(operation)}.values()),
            statuses=_statuses(name, catalog),
            failed=_failed(name, catalog),
            children=catalog.metadata.list_operations(parent=name, limit=1000),
        )


def children(batch: str, catalog: Catalog) -> Iterator[OperationRecord]:
    """All operations of a batch, the newest first."""
    after = None
    while page := catalog.metadata.list_operations(parent=batch, limit=1000, after=after):
        yield from page
        after = page[-1].operation_id


def _statuses(batch: str, catalog: Catalog) -> dict[str, int]:
    counts = catalog.queue.children(batch)
    return {status.value: counts[status] for status in Status if status in counts}


def _failed(batch: str, catalog: Catalog) -> list[OperationRecord]:
    """Without those that were tried again in the batch."""
    found: list[OperationRecord] = []
    for status in (Status.FAILED, Status.PARTIAL, Status.CANCELLED):
        found += catalog.metadata.list_operations(status=status, parent=batch, limit=100)
    newest = sorted(found, key=lambda each: -each.seq)[:100]
    repeats = ((each, catalog.metadata.repeats_of(each.operation_id)) for each in newest)
    return [each for each, again in repeats if all(other.parent_id != batch for other in again)]


def _file_status(name: str, context: Context, host: str | None) -> FileStatusReport:
    catalog = context.catalog
    archives: list[FileRecord] = []
    try:
        archive = find_archive(name, context)
    except MgmtError as exc:
        known = catalog.metadata.files_called(name, paths_meant(name), host)
        if not known:
            raise
        file, answer = known[0], _Answer(None, exc)
        if file.location is not Location.S3:
            archives = _archives_of(file, catalog)
            unknown = NotFoundError("no archive of this content is known")
            answer = _ask(archives[0], context) if archives else _Answer(None, unknown)
    else:
        if archive.record is None:
            return _unrecorded(archive)
        file, answer = archive.record, _ask(archive.record, context)
    judged = _partly_archived(name, file, catalog) or file
    archived = next(iter(archives), file)
    copies = catalog.metadata.copies_of(file.digest) if file.digest else []
    fault = _fault(answer, archived)
    safety = other_file(name, file, catalog) or safety_of(
        judged, catalog, faults=faults_of(copies), archive_faults={} if fault is None else {archived.id: fault}
    )
    return FileStatusReport(
        level=safety.level.value,
        sentence=safety.sentence,
        file=file,
        stored=answer.stored,
        problem=None if answer.problem is None else answer.problem.message,
        cold=next(iter(states([archived], catalog).values()), None),
        members=catalog.members.count(archived.id),
        archives=archives,
        copies=copies,
        history=catalog.metadata.operations_of(file),
    )


def _partly_archived(name: str, file: FileRecord, catalog: Catalog) -> FileRecord | None:
    """The original at the path `name`, if all that is known to be archived of it is a part, which is `file`."""
    if os.sep not in name or name == file.s3_object_key:
        return None
    for path in paths_meant(name):
        original = catalog.metadata.get_file_record(Place(Location.LOCAL, this_host(), path))
        if original is not None and original.digest == file.digest and catalog.verdicts.left_out([original.id]):
            return original
    return None


def _fault(answer: "_Answer", archive: FileRecord) -> str | None:
    """What the store's answer alone shows to be wrong; None if nothing is, or if it did not answer."""
    if isinstance(answer.problem, ProblemError):
        return answer.problem.message
    if answer.stored is not None and archive.size not in (None, answer.stored.size):
        where = f"{archive.store}/{archive.s3_object_key}"
        return f"{where} has {answer.stored.size} bytes, not {archive.size} as recorded"
    return None


def _unrecorded(archive: Archive) -> FileStatusReport:
    """An archive that only its store has."""
    safety = not_in_catalog(archive.url)
    return FileStatusReport(
        level=safety.level.value, sentence=safety.sentence, file=None, stored=archive.store.head(archive.key),
        problem=None, cold=None, members=0, archives=[], copies=[], history=[],
    )  # fmt: skip


def _archives_of(file: FileRecord, catalog: Catalog) -> list[FileRecord]:
    """The archives that hold what `file` does, that of its own upload first."""
    found = catalog.metadata.archives_of(file.digest) if file.digest is not None else []
    return sorted(found, key=lambda archive: archive.operation_id != file.operation_id)


class _Answer(NamedTuple):
    """What a store says of an archive, or why it says nothing."""

    stored: StoredObject | None
    problem: MgmtError | None


def _ask(archive: FileRecord, context: Context) -> _Answer:
    try:
        return _Answer(still_there(context.open_store(archive.store), archive), None)
    except MgmtError as exc:
        return _Answer(None, exc)
