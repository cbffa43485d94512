"""A removal that is done again removes what was meant then, and nothing else: names, keys and paths are used again."""

import os
from collections.abc import Mapping
from dataclasses import replace

from mgmt.catalog import (
    BatchRecord,
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
from mgmt.services.steps.request_arguments import ARCHIVES, FOLDER, NAMES


def identity(archive: FileRecord) -> str:
    """What tells a recorded archive from any other."""
    return f"archive {archive.archive_id}" if archive.archive_id is not None else f"content {archive.digest}"


def repeat_removal(operation: OperationRecord, again: Repeat, catalog: Catalog) -> Repeat:
    """The command `again` of a `delete` or `free`, with a name that means what `operation` meant, and nothing else.

    Raises RefusedError if the operation has succeeded, if what it meant is not recorded, or is gone or replaced.
    """
    if operation.status == Status.SUCCESS:
        raise _refused(operation, "it has removed what it was to remove", f"mgmt undo {operation.operation_id}")
    target = str(operation.target_path)
    match operation:
        case DeleteRecord():
            meant = _archive(operation, target, catalog)
        case FreeRecord():
            names = operation.command_args.get(NAMES)
            meant = {_copy(operation, str(names[0]) if names else target, target, catalog): ""}
        case _:
            return again
    return _meaning(again, meant, operation)


def repeat_removals(batch: BatchRecord, again: Repeat, catalog: Catalog) -> tuple[list[Repeat], list[RefusedError]]:
    """The commands that remove what each name of the requested `batch` meant, none of which was begun.

    Beside them, why some are not repeated: what they meant is not recorded, or is gone or replaced. Raises RefusedError
    if it was to choose its targets when it runs.
    """
    if not again.names:
        raise _refused(batch, "what it would have chosen then is not recorded", f"mgmt {again.command} --all")
    found: list[Repeat] = []
    refused: list[RefusedError] = []
    for name in again.names:
        try:
            if again.command == "delete":
                meant = _archive(batch, name, catalog)
            else:
                meant = {_copy(batch, name, name, catalog): ""}
        except RefusedError as exc:
            refused.append(exc)
        else:
            found.append(replace(_meaning(again, meant, batch), is_batch=False))
    return found, refused


def _meaning(again: Repeat, meant: Mapping[str, str], operation: OperationRecord) -> Repeat:
    name = next(iter(meant))
    label = "" if isinstance(operation, BatchRecord) else name
    known = {each: identity for each, identity in meant.items() if identity}
    return replace(again, names=[name], meant=known, repeats={label: operation.operation_id})


def _archive(removal: OperationRecord, url: str, catalog: Catalog) -> Mapping[str, str]:
    """What means the archive at `url` that `removal` meant: an operation that is linked to it, or its URL."""
    linked = [archive for archive, _ in catalog.metadata.files_of(removal, Role.ARCHIVE)]
    there = _at(url, catalog)
    known = linked[0] if linked else there
    if known is None:
        raise _refused(removal, f"which archive it was to delete as {url} is not recorded", "mgmt delete NAME")
    if known.status is FileStatus.DELETED and not removal.command_args.get("purge"):
        raise _refused(removal, f"its archive {_url(known)} is deleted already")
    if linked:
        return {removal.operation_id: identity(known)}
    made_by = catalog.metadata.get_operation(known.operation_id) if known.operation_id is not None else None
    if not _was_requested_for(removal, known):
        if removal.command_args.get("last_copy"):
            raise _refused(removal, "which archive it was to delete is not recorded", "mgmt delete --last-copy NAME")
        if _is_later(made_by, removal) or known.recorded_at >= removal.started_at:
            raise _refused(removal, f"{_url(known)} holds another archive by now", "mgmt delete NAME")
    if isinstance(made_by, UploadRecord):
        found = [archive for archive, _ in catalog.metadata.files_of(made_by, Role.ARCHIVE)]
        if [each.id for each in found] == [known.id] and known.digest == made_by.digest:
            return {made_by.operation_id: identity(known)}
    return {_url(known): identity(known)}


def _was_requested_for(removal: OperationRecord, archive: FileRecord) -> bool:
    """Whether the request says that it means `archive`. Raises RefusedError if it means another one."""
    requested = removal.command_args.get(ARCHIVES)
    if not isinstance(requested, Mapping) or _url(archive) not in requested:
        return False
    meant, own = requested[_url(archive)], (f"archive {archive.archive_id}", f"content {archive.digest}")
    if meant not in own:
        raise _refused(removal, f"{_url(archive)} holds another archive by now", "mgmt delete NAME")
    return True


def _copy(removal: OperationRecord, name: str, path: str, catalog: Catalog) -> str:
    """What means the copy that `removal` meant by `name`, at `path`: the upload that has made it, or its path."""
    if isinstance(catalog.metadata.get_operation(name), UploadRecord):
        return name
    if not os.path.isabs(path) and (folder := removal.command_args.get(FOLDER)) is not None:
        path = os.path.normpath(os.path.join(str(folder), path))
    copy = catalog.metadata.get_file_record(Place(Location.COMPLETED, host(), path)) if os.path.isabs(path) else None
    if copy is None:
        raise _refused(removal, f"which copy it was to remove as {name} is not recorded", "mgmt free NAME")
    if copy.status is FileStatus.DELETED:
        raise _refused(removal, f"{path} was removed already")
    made_by = catalog.metadata.get_operation(copy.operation_id) if copy.operation_id is not None else None
    since = (made_by.completed_at if made_by is not None else None) or copy.recorded_at
    if _is_later(made_by, removal) or since >= removal.started_at:
        raise _refused(removal, f"{path} is another copy by now", "mgmt free NAME")
    return path


def _is_later(made_by: OperationRecord | None, removal: OperationRecord) -> bool:
    """Whether it was recorded after `removal`, whatever the clocks said."""
    return made_by is not None and made_by.seq > removal.seq


def _at(url: str, catalog: Catalog) -> FileRecord | None:
    """The archive that is recorded at `url` now, or was the last there."""
    return next((each for each in catalog.metadata.find(url) if _url(each) == url), None)


def _url(archive: FileRecord) -> str:
    return f"{archive.store}/{archive.s3_object_key}"


def _refused(operation: OperationRecord, why: str, next_step: str | None = None) -> RefusedError:
    message = f"{operation.operation_type} {operation.operation_id} is not repeated: {why}"
    return RefusedError(message, next_step=next_step)
