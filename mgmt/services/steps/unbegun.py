"""The targets of a batch that none of its operations has begun."""

import os
from collections.abc import Sequence
from dataclasses import replace

from mgmt.catalog import BatchRecord, Catalog, OperationRecord, Status, VerifyRecord
from mgmt.errors import RefusedError
from mgmt.services.steps.removals import repeat_removals
from mgmt.services.steps.repeats import REMOVALS, Repeat, repeat, repeat_requested
from mgmt.services.steps.request_arguments import NAMES
from mgmt.services.steps.requests import ANYWHERE


def is_unbegun(batch: BatchRecord, children: Sequence[OperationRecord], catalog: Catalog) -> bool:
    """Whether no target of `batch` was begun, nor repeated by itself.

    So it is if it was requested, and ended before all of its targets had become operations: they were held.
    """
    targets = [each for each in children if not _is_search(each)]
    if not isinstance(batch.command_args.get(NAMES), list):
        return not children
    return all(each.status == Status.CANCELLED and each.owner is None for each in targets) and not any(
        catalog.metadata.repeats_of(each.operation_id) for each in targets
    )


def _is_search(operation: OperationRecord) -> bool:
    """Whether it has searched a store for unknown objects, which comes before the targets of its batch."""
    return isinstance(operation, VerifyRecord) and operation.store == operation.target_path is not None


def never_begun(batch: BatchRecord, catalog: Catalog) -> tuple[list[Repeat], list[RefusedError]]:
    """The commands that do all that `batch`, which is unbegun, was to do; and why some of it is not repeated.

    Targets that an option chose are chosen anew. Raises RefusedError if its command is not recorded, or all of it
    cannot be repeated.
    """
    again = repeat_requested(batch)
    if again is None:
        raise RefusedError(
            f"batch {batch.operation_id}: its targets are not recorded", next_step="mgmt log --status failed"
        )
    return repeat_removals(batch, again, catalog) if again.command in REMOVALS else ([again], [])


def not_begun(batch: BatchRecord, children: Sequence[OperationRecord]) -> list[Repeat]:
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


def begun_since(batch: BatchRecord, command: str, catalog: Catalog) -> dict[str, OperationRecord]:
    """The newest operation of `command` that began after `batch`, and is no part of it, for each name and path."""
    found: dict[str, OperationRecord] = {}
    for each in reversed(catalog.metadata.list_operations(command, start_date=batch.started_at, limit=None)):
        is_there = command in ANYWHERE or each.host == batch.host
        if is_there and each.seq > batch.seq and each.parent_id != batch.operation_id:
            names = (each.target_path,) if command == "upload" else (each.target_path, each.target_name)
            found |= {name: each for name in names if name is not None}
    return found
