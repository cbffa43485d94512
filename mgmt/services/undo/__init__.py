"""Undo an operation: take back what it did, as far as it is still as it was left.

Each inverse looks at what is there now. An undo that was interrupted is finished by the same command, and one that is
done already changes nothing.
"""

from collections.abc import Mapping

from mgmt.catalog import (
    BatchRecord,
    ClassRecord,
    ConfigRecord,
    DeleteRecord,
    DownloadRecord,
    FreeRecord,
    IgnoreRecord,
    OperationRecord,
    Role,
    Status,
    TagRecord,
    UndoRecord,
    UploadRecord,
)
from mgmt.services.steps.context import Context
from mgmt.services.undo.batches import BatchInverse
from mgmt.services.undo.downloads import DownloadInverse
from mgmt.services.undo.parts import Inverse, Part, Verbs, cannot
from mgmt.services.undo.removals import DeleteInverse, FreeInverse
from mgmt.services.undo.settings import ConfigInverse, IgnoreInverse
from mgmt.services.undo.uploads import UploadInverse
from mgmt.words import shell_word

__all__ = ["Part", "Verbs", "plan", "undo"]

_WITHOUT: Mapping[str, str] = {
    "verify": "it changed nothing",
    "search": "it changed nothing",
    "status": "it changed nothing",
    "recover": "it finished what others had begun; undo those",
    "rebuild": "it only recorded what the store holds",
    "restore": "a restored archive can be read for some days, and is frozen again then",
    "lock": "mgmt lock sets another lock",
    "undelete": "mgmt delete deletes the archive again",
    "prune": "the operations that it removed are in its export only",
}
"""Why operations of these types cannot be undone."""


def plan(operation_id: str, context: Context, verbs: Verbs) -> list[Part]:
    """What `undo` would do, in this order; empty if nothing is left to do. Changes nothing.

    Raises NotFoundError if there is no such operation, and RefusedError with the reason if it cannot be undone.
    """
    operation = context.catalog.metadata.require_operation(operation_id)
    if context.catalog.metadata.undone_by(operation_id) is not None:
        return []
    try:
        return _inverse(operation, context, verbs).parts()
    finally:
        context.progress.stop()


def undo(operation_id: str, context: Context, verbs: Verbs) -> UndoRecord:
    """Undo an operation; return the record of that, or of the earlier undo if it is undone already.

    What another verb does is an operation of its own, whose parent is the undo. Raises as `plan` does, before anything
    is changed.
    """
    return _undo(context.catalog.metadata.require_operation(operation_id), context, verbs)


def _undo(operation: OperationRecord, context: Context, verbs: Verbs) -> UndoRecord:
    catalog, operation_id = context.catalog, operation.operation_id
    if (done := catalog.metadata.undone_by(operation_id)) is not None:
        return done
    record = UndoRecord(
        undo_of=operation_id,
        target_path=operation.target_path,
        target_name=operation.target_name,
        command_args=dict(context.command_args),
        parent_id=context.parent,
    )
    try:
        with catalog.journal.record(record, claim=f"undo {operation_id}") as record:
            inverse = _inverse(operation, context, verbs)
            parts = inverse.parts()
            record.details = {**record.details, "parts": [_as_detail(each) for each in parts[:1000]]}
            catalog.journal.checkpoint()
            inverse.run(record)
    finally:
        context.progress.stop()
    return record


def _as_detail(part: Part) -> dict[str, str]:
    facts = {"action": part.action, "target": part.target, "to": part.to, "why": part.why}
    return {name: value for name, value in facts.items() if value is not None}


def _inverse(operation: OperationRecord, context: Context, verbs: Verbs) -> Inverse:
    """How `operation` is undone. Raises RefusedError."""
    if isinstance(operation, UndoRecord):
        raise cannot(operation, "what it undid can be done again", f"mgmt replay {operation.undo_of}")
    if not operation.status.is_terminal:
        raise cannot(operation, f"it is {operation.status}", f"mgmt cancel {operation.operation_id}")
    if operation.operation_type in _WITHOUT:
        raise cannot(operation, _WITHOUT[operation.operation_type])
    if isinstance(operation, BatchRecord):
        return BatchInverse(
            operation,
            context,
            lambda each: _inverse(each, context, verbs),
            lambda each, within: _undo(each, within, verbs),
        )
    if operation.status not in (Status.SUCCESS, Status.PARTIAL):
        raise cannot(operation, f"it ended as {operation.status}", _instead(operation, context))
    match operation:
        case UploadRecord():
            return UploadInverse(operation, context, verbs)
        case DownloadRecord():
            return DownloadInverse(operation, context, verbs)
        case FreeRecord():
            return FreeInverse(operation, context, verbs)
        case DeleteRecord():
            return DeleteInverse(operation, context, verbs)
        case ConfigRecord():
            return ConfigInverse(operation)
        case IgnoreRecord():
            return IgnoreInverse(operation, context, verbs)
        case ClassRecord():
            back = f"mgmt class {shell_word(str(operation.target_path))} {operation.from_class or 'CLASS'}"
            raise cannot(operation, "to move it back is a move of its own, which costs", f"{back} -n")
        case TagRecord():
            raise cannot(operation, "tags are changed again by their names", _tags_of(operation))
    raise cannot(operation, "this mgmt does not know its type")


def _tags_of(operation: TagRecord) -> str:
    """The command that gives an archive the tags that it had."""
    before, after = operation.details.get("before", {}), operation.details.get("after", {})
    words = [f"{key}={value}" for key, value in before.items() if after.get(key) != value]
    words += [f"-{key}" for key in after if key not in before]
    return " ".join(shell_word(each) for each in ("mgmt", "tag", str(operation.target_path), *words))


def _instead(operation: OperationRecord, context: Context) -> str:
    """What to type for an operation that did not succeed."""
    archives = context.catalog.metadata.files_of(operation, Role.ARCHIVE)
    if isinstance(operation, UploadRecord) and archives:
        archive = archives[0][0]
        return f"mgmt delete {shell_word(f'{archive.store}/{archive.s3_object_key}')}\n# the archive that it has made"
    return f"mgmt retry {operation.operation_id}"
