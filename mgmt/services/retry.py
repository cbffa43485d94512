"""Do the work of operations again: of those that did not succeed, or of any one."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from mgmt.catalog import BatchRecord, Catalog, OperationRecord, Status
from mgmt.errors import RefusedError
from mgmt.services.steps.removals import repeat_removal
from mgmt.services.steps.repeats import REMOVALS, Repeat, repeat, repeat_requested, together
from mgmt.services.steps.requests import KINDS, Attempts, Request, When, enqueue

UNDONE = (Status.FAILED, Status.PARTIAL, Status.CANCELLED)
"""The ends of an operation that has not done all that it was asked to."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What to do again, and what not."""

    commands: list[Repeat] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Why an operation is not retried, each a sentence."""


def to_retry(operation_ids: Sequence[str], catalog: Catalog) -> Retried:
    """What to run to retry these operations; of a batch, its targets that were not done.

    One that has succeeded since is left out. Raises NotFoundError if there is no such operation, and RefusedError if
    one has succeeded or has not ended, or cannot be repeated from its record.
    """
    operations = [catalog.metadata.require_operation(each) for each in dict.fromkeys(operation_ids)]
    for each in operations:
        if not each.status.is_terminal:
            raise RefusedError(
                f"{each.operation_type} {each.operation_id} is {each.status}",
                next_step=f"mgmt cancel {each.operation_id}",
            )
        if each.status == Status.SUCCESS:
            raise RefusedError(
                f"{each.operation_type} {each.operation_id} has succeeded",
                next_step=f"mgmt replay {each.operation_id}",
            )
    retried, refused = _retried(operations, catalog)
    if refused and not retried.commands:
        raise refused[0]
    return retried


def failed(since: datetime | None, catalog: Catalog) -> Retried:
    """What to run to retry all that failed, was done in part, or was interrupted, and that can be repeated.

    What somebody has cancelled, or what waited for something that failed, is left alone.
    """
    found: list[OperationRecord] = []
    for status in UNDONE:
        found += catalog.metadata.list_operations(status=status, start_date=since, limit=None)
    found.sort(key=lambda each: each.seq)
    wanted: dict[str, OperationRecord] = {}
    for each in found:
        if each.operation_type not in (*KINDS, "batch"):
            continue
        if each.status == Status.CANCELLED and not (each.error_message or "").startswith("interrupted"):
            continue
        same = f"{each.operation_type} {getattr(each, 'member', None)} {each.target_path}"
        wanted[each.operation_id if isinstance(each, BatchRecord) else same] = each
    return _retried(wanted.values(), catalog)[0]


def to_replay(operation_id: str, catalog: Catalog) -> list[Repeat]:
    """What to run to do all that this operation did, or should have done, again. Raises as `to_retry` does."""
    operation = catalog.metadata.require_operation(operation_id)
    if not operation.status.is_terminal:
        raise RefusedError(
            f"{operation.operation_type} {operation_id} is {operation.status}", next_step=f"mgmt cancel {operation_id}"
        )
    if not isinstance(operation, BatchRecord):
        return [_repeat(operation, catalog)]
    newest: dict[tuple[str | None, str | None], OperationRecord] = {}
    children = catalog.metadata.list_operations(parent=operation_id, limit=None)
    if not children:
        return [_never_begun(operation)]
    for each in reversed(children):
        newest[each.target_path, getattr(each, "member", None)] = each
    commands = [_repeat(each, catalog) for each in newest.values()]
    return _of_batch(operation, [*commands, *_not_begun(operation, children)])


def later(commands: Iterable[Repeat], when: When, attempts: Attempts, catalog: Catalog) -> list[OperationRecord]:
    """Request the `commands` for a worker to run, each target as an operation of its own."""
    made: list[OperationRecord] = []
    with catalog.transaction():
        for each in commands:
            for names in [each.names] if each.is_batch else [[name] for name in each.names]:
                request = Request(
                    command=each.command,
                    names=names,
                    arguments=each.arguments,
                    when=replace(when, then=each.then),
                    attempts=attempts,
                    store=each.store,
                    folder=each.folder,
                    retry_of=each.repeated_by("" if each.is_batch else names[0]),
                )
                made += enqueue(request, catalog)
    return made


def _retried(operations: Iterable[OperationRecord], catalog: Catalog) -> tuple[Retried, list[RefusedError]]:
    """What to run for the parts of `operations` that were not done, and why some of them cannot be repeated."""
    left_out: list[str] = []
    refused: list[RefusedError] = []
    repeats: list[Repeat] = []
    seen: set[str] = set()
    for operation in operations:
        parts = [operation]
        try:
            if isinstance(operation, BatchRecord):
                children = catalog.metadata.list_operations(parent=operation.operation_id, limit=None)
                parts = [each for each in reversed(children) if each.status in UNDONE]
                if not children and (why := _needless(operation, catalog)) is not None:
                    left_out.append(why)
                elif not children:
                    parts = []
                    repeats.append(_never_begun(operation))
                else:
                    repeats += _of_batch(operation, _not_begun(operation, children))
        except RefusedError as exc:
            refused.append(exc)
        for each in parts:
            if each.operation_id in seen:
                continue
            seen.add(each.operation_id)
            if (why := _needless(each, catalog)) is not None:
                left_out.append(why)
                continue
            try:
                again = _repeat(each, catalog)
                repeats += _of_batch(operation, [again]) if each is not operation else [again]
            except RefusedError as exc:
                refused.append(exc)
    messages = [f"{each.message}: it is not retried" for each in refused]
    return Retried(together(repeats), [*left_out, *messages]), refused


def _repeat(operation: OperationRecord, catalog: Catalog) -> Repeat:
    again = repeat(operation)
    return repeat_removal(operation, again, catalog) if again.command in REMOVALS else again


def _never_begun(batch: BatchRecord) -> Repeat:
    """The command of a batch that has no operations. Raises RefusedError if it is not recorded."""
    again = repeat_requested(batch)
    if again is None:
        raise RefusedError(
            f"batch {batch.operation_id}: its targets are not recorded", next_step="mgmt log --status failed"
        )
    return again


def _of_batch(batch: OperationRecord, repeats: list[Repeat]) -> list[Repeat]:
    """The same as a part of what `batch` did, in as few commands as possible."""
    return together(replace(each, repeats={**each.repeats, "": batch.operation_id}) for each in repeats)


def _needless(operation: OperationRecord, catalog: Catalog) -> str | None:
    """Why `operation` is not retried; None if it is."""
    what = f"{operation.operation_type} {operation.operation_id}"
    chain = list(catalog.metadata.repeats_of(operation.operation_id))
    while chain:
        each = chain.pop()
        if each.status == Status.SUCCESS:
            return f"{what} is not retried: {each.operation_id}, which did it again, has succeeded"
        if not each.status.is_terminal:
            return f"{what} is not retried: {each.operation_id}, which does it again, is {each.status}"
        chain += catalog.metadata.repeats_of(each.operation_id)
    if operation.target_path is None:
        return None
    for each in catalog.metadata.list_operations(
        operation.operation_type, start_date=operation.started_at, target=operation.target_path, limit=None
    ):
        same = (each.target_path, each.host) == (operation.target_path, operation.host)
        same = same and getattr(each, "member", None) == getattr(operation, "member", None)
        if same and each.seq > operation.seq and each.status == Status.SUCCESS:
            return f"{what} is not retried: {each.operation_id} has succeeded since, with the same target"
    return None


def _not_begun(batch: BatchRecord, children: Sequence[OperationRecord]) -> list[Repeat]:
    """The targets of `batch` that none of its `children` has begun, as its record lists them."""
    left = [str(each) for each in batch.details.get("left", ())]
    if not left or not children:
        return []
    model = repeat(children[-1])
    if "members" in model.arguments:
        return []
    if model.command in REMOVALS:
        raise RefusedError(
            f"batch {batch.operation_id}: what the {len(left)} names meant that it did not come to is not recorded",
            next_step=f"mgmt {model.command} NAME",
        )
    folder = batch.details.get("folder")
    is_path = model.command == "upload"
    if is_path and folder is not None:
        left = [os.path.join(str(folder), each) for each in left]
    begun = {name for each in children for name in (each.target_path, each.target_name)}
    arguments = {name: value for name, value in model.arguments.items() if name != "key"}
    names = [each for each in left if each not in begun and (not is_path or os.path.isabs(each))]
    return [replace(model, names=[each], arguments=arguments, repeats={}) for each in names]
