"""A removal that is done again removes what was meant then, and nothing else: names, keys and paths are used again."""

import os
from collections.abc import Mapping
from dataclasses import replace

from mgmt.catalog import (
    Catalog,
    DeleteRecord,
    FileRecord,
    FileStatus,
    FreeRecord,
    Location,
    OperationRecord,
    Place,
    Role,
    Status,
    UploadRecord,
)
from mgmt.errors import RefusedError
from mgmt.services.steps.local_files import host
from mgmt.services.steps.repeats import Repeat
from mgmt.services.steps.request_arguments import ARCHIVES, NAMES


def repeat_removal(operation: OperationRecord, again: Repeat, catalog: Catalog) -> Repeat:
    """The command `again` of a `delete` or `free`, with a name that means what `operation` meant, and nothing else.

    Raises RefusedError if the operation has succeeded, if what it meant is not recorded, or is gone or replaced.
    """
    if operation.status == Status.SUCCESS:
        raise _refused(operation, "it has removed what it was to remove", f"mgmt undo {operation.operation_id}")
    match operation:
        case DeleteRecord():
            name = _archive(operation, catalog)
        case FreeRecord():
            name = _copy(operation, catalog)
        case _:
            return again
    return replace(again, names=[name], repeats={name: operation.operation_id})


def _archive(deletion: DeleteRecord, catalog: Catalog) -> str:
    """What means the archive of `deletion`: an operation that is linked to it, or its URL."""
    linked = [archive for archive, _ in catalog.metadata.files_of(deletion, Role.ARCHIVE)]
    there = _at(str(deletion.target_path), catalog)
    known = linked[0] if linked else there
    if known is None:
        raise _refused(deletion, "which archive it was to delete is not recorded", "mgmt delete NAME")
    if known.status is FileStatus.DELETED and not deletion.command_args.get("purge"):
        raise _refused(deletion, f"its archive {_url(known)} is deleted already")
    if linked:
        return deletion.operation_id
    if not _was_requested_for(deletion, known):
        if deletion.command_args.get("last_copy"):
            raise _refused(deletion, "which archive it was to delete is not recorded", "mgmt delete --last-copy NAME")
        if known.recorded_at >= deletion.started_at:
            raise _refused(deletion, f"{_url(known)} holds another archive by now", "mgmt delete NAME")
    made_by = catalog.metadata.get_operation(known.operation_id) if known.operation_id is not None else None
    if isinstance(made_by, UploadRecord):
        found = [archive for archive, _ in catalog.metadata.files_of(made_by, Role.ARCHIVE)]
        if [each.id for each in found] == [known.id] and known.digest == made_by.digest:
            return made_by.operation_id
    return _url(known)


def _was_requested_for(deletion: DeleteRecord, archive: FileRecord) -> bool:
    """Whether the request says that it means `archive`. Raises RefusedError if it means another one."""
    requested = deletion.command_args.get(ARCHIVES)
    if not isinstance(requested, Mapping) or _url(archive) not in requested:
        return False
    meant, own = requested[_url(archive)], (f"archive {archive.archive_id}", f"content {archive.digest}")
    if meant not in own:
        raise _refused(deletion, f"{_url(archive)} holds another archive by now", "mgmt delete NAME")
    return True


def _copy(free: FreeRecord, catalog: Catalog) -> str:
    """What means the copy of `free`: the upload that it was requested for, or its path."""
    names = free.command_args.get(NAMES)
    if names and isinstance(catalog.metadata.get_operation(str(names[0])), UploadRecord):
        return str(names[0])
    path = str(free.target_path)
    copy = catalog.metadata.get_file_record(Place(Location.COMPLETED, host(), path)) if os.path.isabs(path) else None
    if copy is None:
        raise _refused(free, "which copy it was to remove is not recorded", "mgmt free NAME")
    if copy.status is FileStatus.DELETED:
        raise _refused(free, f"{path} was removed already")
    made_by = catalog.metadata.get_operation(copy.operation_id) if copy.operation_id is not None else None
    since = (made_by.completed_at if made_by is not None else None) or copy.recorded_at
    if since >= free.started_at:
        raise _refused(free, f"{path} is another copy by now", "mgmt free NAME")
    return path


def _at(url: str, catalog: Catalog) -> FileRecord | None:
    """The archive that is recorded at `url` now, or was the last there."""
    return next((each for each in catalog.metadata.find(url) if _url(each) == url), None)


def _url(archive: FileRecord) -> str:
    return f"{archive.store}/{archive.s3_object_key}"


def _refused(operation: OperationRecord, why: str, next_step: str | None = None) -> RefusedError:
    message = f"{operation.operation_type} {operation.operation_id} is not repeated: {why}"
    return RefusedError(message, next_step=next_step)
