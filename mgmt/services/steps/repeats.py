"""The command line that does the work of a recorded operation again.

An operation that was requested has its names and its folder in its arguments; that of others are taken from its record.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mgmt.catalog import BatchRecord, DownloadRecord, OperationRecord, UploadRecord, VerifyRecord
from mgmt.errors import MgmtError, RefusedError
from mgmt.paths import canonical
from mgmt.services.steps.local_files import host
from mgmt.services.steps.request_arguments import FOLDER, NAMES, NO_OPTIONS, STORE, TEMPLATE, THEN
from mgmt.services.steps.requests import ANYWHERE, KINDS, SELECTIONS
from mgmt.words import shell_word

_OF_SETTINGS = "completed_dir"
"""What an upload records of the settings besides its options."""

REMOVALS = ("delete", "free")
"""The commands that remove something."""

_INSTEAD: Mapping[str, str] = {
    "search": "mgmt search KEYWORD",
    "status": "mgmt status NAME",
    "config": "mgmt config set NAME VALUE",
    "ignore": "mgmt ignore KEY",
    "recover": "mgmt recover",
    "rebuild": "mgmt db rebuild",
    "prune": "mgmt db prune --before TIME",
}
"""What to type instead, for types that are not repeated from their record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A command, and the operations that it does again."""

    type: str = "repeat"
    command: str
    names: Sequence[str]
    arguments: Mapping[str, object]
    """Its options, and the name of the template that some of them came from."""
    store: str | None = None
    """The store that it needs, if the record says so."""
    completed_dir: str | None = None
    """The setting that it had."""
    folder: str | None = None
    """The folder to run it in."""
    then: Sequence[str] = ()
    after: Sequence[str] = ()
    """What it waits for: operations that are repeated with it, and ones that have not ended."""
    followed_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of each operation that is repeated, those whose work the commands in `then` do again."""
    meant: Mapping[str, str] = field(default_factory=dict)
    """What tells the archive that a name to delete means from any other."""
    repeats: Mapping[str, str] = field(default_factory=dict)
    """The operation that each of its targets does again; that of a batch has the name ""."""
    parts_of: Sequence[str] = ()
    """The batches that some of its targets were part of."""
    is_batch: bool = False
    """It has several targets, or chooses them when it runs: it is requested as one."""

    def repeated_by(self, name: str) -> str | None:
        """The operation whose work this does again on the target `name`, which may have a member besides."""
        own = (self.repeats[label] for label in self.repeats if label == name or label.startswith(f"{name}:"))
        return next(own, self.repeats.get(""))

    def like(self, other: "Repeat") -> bool:
        """Whether one command can do the work of both."""
        of_one = ("members", "key", "changes", "remove")
        if any(each in self.arguments for each in of_one) or self.is_batch or other.is_batch:
            return False
        facts = ("command", "arguments", "store", "completed_dir", "folder", "then", "after")
        return all(getattr(self, name) == getattr(other, name) for name in facts)


def repeat(operation: OperationRecord) -> Repeat:
    """The command that does the work of `operation`, which is no batch, again.

    Raises RefusedError if it cannot be told, or on another machine than that of its files.
    """
    command = operation.operation_type
    if command == "undo":
        raise _refused(operation, "an undo is not repeated", f"mgmt undo {operation.undo_of}")  # type: ignore[attr-defined]
    if command not in KINDS:
        raise _refused(operation, f"a {command} is not repeated from its record", _INSTEAD.get(command))
    if command not in ANYWHERE and operation.host not in (None, host()):
        where = f"it concerns files of {operation.host}, and this is {host()}"
        raise _refused(operation, where, f"mgmt retry {operation.operation_id}\n# on {operation.host}")
    if isinstance(operation, VerifyRecord) and operation.store == operation.target_path is not None:
        raise _refused(operation, "it looked for unknown objects in a whole store", "mgmt verify --all")
    if operation.target_path is None:
        raise _refused(operation, "its target is not recorded", None)
    recorded = operation.command_args
    arguments = {name: value for name, value in _options(operation).items() if name not in SELECTIONS}
    name, folder = _name(operation), recorded.get(FOLDER)
    found = Repeat(
        command=command,
        names=[name],
        arguments=arguments,
        store=getattr(operation, "store", None) if command == "upload" else _store(operation),
        folder=None if folder is None else str(folder),
        completed_dir=str(recorded[_OF_SETTINGS]) if _OF_SETTINGS in recorded else None,
        then=[str(each) for each in recorded.get(THEN, ())],
        repeats={name: operation.operation_id},
    )
    match operation:
        case DownloadRecord():
            return _of_download(operation, found, name)
        case UploadRecord() if found.folder is None and "keep_archive" in arguments:
            return replace(found, arguments={**arguments, "keep_archive": _folder_of_kept(operation)})
    return found


def repeat_requested(batch: BatchRecord) -> Repeat | None:
    """The command that was requested as `batch`; None if it was not requested.

    Of a removal, its names may mean something else by now. Raises RefusedError on another machine than that of its
    files.
    """
    names = batch.command_args.get(NAMES)
    if not isinstance(names, list):
        return None
    command = "upload" if "all_of" in batch.command_args else str(batch.target_name).partition(" ")[0]
    if command not in KINDS:
        return None
    if command not in ANYWHERE and batch.host not in (None, host()):
        where = f"it concerns files of {batch.host}, and this is {host()}"
        raise _refused(batch, where, f"mgmt retry {batch.operation_id}\n# on {batch.host}")
    recorded = batch.command_args
    return Repeat(
        command=command,
        names=[str(each) for each in names],
        arguments=_options(batch),
        store=_store(batch),
        folder=str(recorded[FOLDER]) if FOLDER in recorded else None,
        then=[str(each) for each in recorded.get(THEN, ())],
        repeats={"": batch.operation_id},
        is_batch=True,
    )


def _options(operation: OperationRecord) -> dict[str, object]:
    """Its recorded options, and the name of the template that some came from."""
    left_out = {*NO_OPTIONS, _OF_SETTINGS, "files_from", "null"} - {TEMPLATE}
    return {name: value for name, value in operation.command_args.items() if name not in left_out}


def _store(operation: OperationRecord) -> str | None:
    """The store that its command was given when it was requested."""
    store = operation.command_args.get(STORE)
    return None if store is None else str(store)


def _name(operation: OperationRecord) -> str:
    """Its target as it can be typed: an upload and a removal of a copy have paths, others names or URLs."""
    if isinstance(operation, UploadRecord):
        return _same_path(operation)
    names = operation.command_args.get(NAMES)
    return str(names[0]) if names else str(operation.target_path)


def _same_path(upload: UploadRecord) -> str:
    """Its target. Raises RefusedError if that path leads to another file by now."""
    target = str(upload.target_path)
    try:
        found = canonical(target)
    except MgmtError:
        return target  # the upload will say why
    if found != target:
        raise _refused(upload, f"{target} is {found} by now", f"mgmt upload {shell_word(found)}")
    return target


def _of_download(operation: DownloadRecord, found: Repeat, name: str) -> Repeat:
    arguments = dict(found.arguments)
    if found.folder is None and operation.local_path is not None:
        path = operation.local_path
        arguments["to"] = os.path.dirname(path) if operation.result_path == path else path
    if operation.member is not None:
        arguments["members"] = [operation.member]
        return replace(found, arguments=arguments, repeats={f"{name}:{operation.member}": operation.operation_id})
    return replace(found, arguments=arguments)


def _folder_of_kept(operation: UploadRecord) -> str:
    typed = str(operation.command_args["keep_archive"])
    if os.path.isabs(typed):
        return typed
    if operation.compressed_file_path is not None:
        return os.path.dirname(operation.compressed_file_path)
    raise _refused(operation, f"the folder that {typed} is in is not recorded", f"mgmt upload {operation.target_path}")


def together(repeats: Iterable[Repeat]) -> list[Repeat]:
    """The same with as few commands as possible, in the order of their first targets."""
    found: list[Repeat] = []
    for each in repeats:
        for at, one in enumerate(found):
            if one.like(each) and not set(one.names) & set(each.names):
                found[at] = replace(
                    one,
                    names=[*one.names, *each.names],
                    meant={**one.meant, **each.meant},
                    followed_by={**one.followed_by, **each.followed_by},
                    repeats={**one.repeats, **each.repeats},
                    parts_of=[*dict.fromkeys([*one.parts_of, *each.parts_of])],
                )
                break
        else:
            found.append(each)
    return found


def _refused(operation: OperationRecord, why: str, next_step: str | None) -> RefusedError:
    return RefusedError(f"{operation.operation_type} {operation.operation_id}: {why}", next_step=next_step)
