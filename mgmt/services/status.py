"""The status of one file or operation, with all that is known about it."""

import os
from dataclasses import dataclass

from mgmt.catalog import Catalog, FileRecord, Location, OperationRecord, StatusRecord
from mgmt.errors import MgmtError
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import paths_meant
from mgmt.services.steps.proof import still_there
from mgmt.services.steps.resolve import find_archive
from mgmt.services.steps.thaw import states
from mgmt.storage import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatusReport:
    """What is known about a file; `stored` is the store's answer, `problem` says why there is none.

    Of an original or a copy, the answer is about the archive of its content, the first of `archives`.
    """

    type: str = "file"
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
    children: list[OperationRecord]


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
            children=catalog.metadata.list_operations(parent=operation.operation_id, limit=1000),
        )


def _file_status(name: str, context: Context, host: str | None) -> FileStatusReport:
    catalog = context.catalog
    file: FileRecord | None
    archives: list[FileRecord] = []
    stored, problem = None, None
    try:
        archive = find_archive(name, context)
    except MgmtError as exc:
        known = _named(name, catalog, host)
        if not known:
            raise
        file, problem = known[0], exc.message
        if file.location is not Location.S3:
            archives = _archives_of(file, catalog)
            stored, problem = _ask(archives[0], context) if archives else (None, "no archive of this content is known")
    else:
        file = archive.record
        try:
            stored = archive.store.head(archive.key)
        except MgmtError as exc:
            problem = exc.message
    archived = next(iter(archives), file)
    return FileStatusReport(
        file=file,
        stored=stored,
        problem=problem,
        cold=next(iter(states([archived], catalog).values()), None),
        members=catalog.members.count(archived.id) if archived is not None else 0,
        archives=archives,
        copies=catalog.metadata.copies_of(file.digest) if file is not None and file.digest else [],
        history=catalog.metadata.operations_of(file) if file is not None else [],
    )


def _archives_of(file: FileRecord, catalog: Catalog) -> list[FileRecord]:
    """The archives that hold what `file` does, that of its own upload first."""
    found = catalog.metadata.archives_of(file.digest) if file.digest is not None else []
    return sorted(found, key=lambda archive: archive.operation_id != file.operation_id)


def _ask(archive: FileRecord, context: Context) -> tuple[StoredObject | None, str | None]:
    """What its store says of `archive`, or why it says nothing."""
    try:
        return still_there(context.open_store(archive.store), archive), None
    except MgmtError as exc:
        return None, exc.message


def _named(name: str, catalog: Catalog, host: str | None) -> list[FileRecord]:
    """Records of local files, completed copies and deleted archives with exactly this name, path or key."""
    paths = paths_meant(name)
    found = [
        each
        for word in {os.path.basename(path.rstrip("/")) for path in paths} - {""}
        for each in catalog.metadata.search_files(word, host=host, limit=None)
    ]
    return list({each.id: each for each in found if each.name == name or each.path in paths}.values())
