"""What an undo consists of, and the verbs that do its work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mgmt.archive import Hashed
from mgmt.catalog import (
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    FreeRecord,
    IgnoreRecord,
    OperationRecord,
    UndeleteRecord,
    UndoRecord,
    UploadRecord,
)
from mgmt.choices import FROZEN_CLASSES
from mgmt.errors import NotReadyError, RefusedError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Proven
from mgmt.services.steps.local_files import host
from mgmt.services.steps.plan import UploadOptions
from mgmt.services.steps.resolve import find_archive
from mgmt.services.steps.restoring import DownloadOptions
from mgmt.services.steps.thaw import ThawOptions, refuse_to_look


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that an undo does, or leaves as it is."""

    type: str = "undo"
    action: str
    target: str
    to: str | None = None
    why: str | None = None
    """Why something stays as it is, or cannot be done yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbs:
    """The verbs that undo what others did."""

    upload: Callable[[str, UploadOptions, Context], UploadRecord]
    download: Callable[[str, DownloadOptions, Context], DownloadRecord]
    undelete: Callable[[str, Context], UndeleteRecord]
    delete_archive: Callable[[str, Context], DeleteRecord]
    foresee_deletion: Callable[[str, Context, bool], object]
    """Raises as `delete_archive` would; the last argument says that there will be another copy."""
    remove_copy: Callable[[FileRecord, Context, str, Callable[[FileRecord, int], tuple[Hashed, Proven]]], FreeRecord]
    """Removes a copy, whose content has this digest, once the last argument has compared it and proven an archive."""
    ignore: Callable[[str, Context, bool], IgnoreRecord]
    """The last argument says whether the object is to be ignored no more."""
    options: Callable[[], UploadOptions]
    """The options of an upload that the settings decide."""
    thaw: Callable[[], ThawOptions] = ThawOptions
    """With the prices that the settings choose. An undo never asks for a restore, which costs."""


class Inverse(Protocol):
    """How one operation is undone. It looks at what is there now, so what is done already is not done again."""

    def parts(self) -> list[Part]:
        """What is left to do. Raises RefusedError if it cannot be undone. Changes nothing."""

    def run(self, undo: UndoRecord) -> None:
        """Do it, as part of the operation `undo`, whose context has it as parent."""


def download(url: str, to: str, context: Context, verbs: Verbs) -> Part:
    """The part that brings back the archive at `url` as `to`: if it is frozen, with what has to be done before that."""
    why = None
    archive = find_archive(url, context)
    if archive.record is None or archive.record.storage_class in (*FROZEN_CLASSES, None):
        try:
            refuse_to_look(archive, archive.store.head(archive.key), verbs.thaw())
        except NotReadyError as exc:
            why = f"not yet: {exc.message}"
    return Part(action="download", target=url, to=to, why=why)


def refuse_elsewhere(operation: OperationRecord) -> None:
    """Raise RefusedError if the files of `operation` are on another machine."""
    if operation.host not in (None, host()):
        raise RefusedError(
            f"{operation.operation_type} {operation.operation_id} concerns files of {operation.host}, "
            f"and this is {host()}",
            next_step=f"mgmt undo {operation.operation_id}\n# on {operation.host}",
        )


def cannot(operation: OperationRecord, why: str, next_step: str | None = None) -> RefusedError:
    """The error for an operation that cannot be undone."""
    return RefusedError(
        f"{operation.operation_type} {operation.operation_id} cannot be undone: {why}", next_step=next_step
    )
