"""Do the work of operations again: of those that did not succeed, or of any one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from mgmt.catalog import BatchRecord, Catalog, OperationRecord, Status
from mgmt.errors import RefusedError
from mgmt.services.steps.repeats import Repeat, together
from mgmt.services.steps.request_arguments import ARCHIVES
from mgmt.services.steps.requests import KINDS, Attempts, Request, When, enqueue
from mgmt.services.steps.unbegun import is_unbegun, never_begun, not_begun
from mgmt.services.steps.undone import UNDONE, Retried, Undone, is_cancelled, of_batch, repeat_again


def to_retry(operation_ids: Sequence[str], catalog: Catalog) -> Retried:
    """What to run to retry these operations; of a batch, its targets that were not done.

    What waited for them, and was cancelled as they did not succeed, comes with them. One that has succeeded since is
    left out. Raises NotFoundError if there is no such operation, and RefusedError if one has succeeded or has not
    ended, or cannot be repeated from its record.
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
    retry = Undone(catalog)
    retried = retry.of(operations)
    if retry.refused and not retried.commands:
        raise retry.refused[0]
    return retried


def failed(since: datetime | None, catalog: Catalog) -> Retried:
    """What to run to retry all that failed, was done in part, or was interrupted, and that can be repeated.

    What somebody has cancelled is left alone. What waited for something that failed comes with that.
    """
    found: list[OperationRecord] = []
    for status in UNDONE:
        found += catalog.metadata.list_operations(status=status, start_date=since, limit=None)
    wanted = [each for each in found if each.operation_type in (*KINDS, "batch") and not is_cancelled(each)]
    return Undone(catalog, once=True).of(sorted(wanted, key=lambda each: each.seq))


def to_replay(operation_id: str, catalog: Catalog) -> list[Repeat]:
    """What to run to do all that this operation did, or should have done, again. Raises as `to_retry` does."""
    operation = catalog.metadata.require_operation(operation_id)
    if not operation.status.is_terminal:
        raise RefusedError(
            f"{operation.operation_type} {operation_id} is {operation.status}", next_step=f"mgmt cancel {operation_id}"
        )
    if not isinstance(operation, BatchRecord):
        return [repeat_again(operation, catalog)]
    newest: dict[tuple[str | None, str | None], OperationRecord] = {}
    children = catalog.metadata.list_operations(parent=operation_id, limit=None)
    if is_unbegun(operation, children, catalog):
        found, refused = never_begun(operation, catalog)
        if refused and not found:
            raise refused[0]
        return together(found)
    for each in reversed(children):
        newest[each.target_path, getattr(each, "member", None)] = each
    commands = [repeat_again(each, catalog) for each in newest.values()]
    return of_batch([operation], [*commands, *not_begun(operation, children)])


def later(commands: Iterable[Repeat], when: When, attempts: Attempts, catalog: Catalog) -> list[OperationRecord]:
    """Request the `commands` for a worker to run, each target as an operation of its own.

    What waited for an operation that is repeated waits for what repeats it.
    """
    made: list[OperationRecord] = []
    again: dict[str, list[str]] = {}
    with catalog.transaction():
        for each in commands:
            for names in [each.names] if each.is_batch else [[name] for name in each.names]:
                retry_of = each.repeated_by("" if each.is_batch else names[0])
                following = each.followed_by.get(retry_of or "", ())
                new = enqueue(_request(each, names, when, attempts, again), catalog)
                for old in {retry_of, each.repeats.get(""), *each.parts_of} - {None}:
                    again.setdefault(str(old), []).append(new[0].operation_id)
                again |= {old: [follower.operation_id] for old, follower in zip(following, new[1:], strict=False)}
                made += new
    return made


def _request(
    repeat: Repeat, names: Sequence[str], when: When, attempts: Attempts, again: Mapping[str, Sequence[str]]
) -> Request:
    """The request to run `repeat` on `names`; `again` are the operations that repeat each one so far."""
    retry_of = repeat.repeated_by("" if repeat.is_batch else names[0])
    after = [new for old in repeat.after for new in again.get(old, [old])]
    meant = {name: repeat.meant[name] for name in names if name in repeat.meant}
    return Request(
        command=repeat.command,
        names=[again[name][0] if repeat.after and len(again.get(name, ())) == 1 else name for name in names],
        arguments={**repeat.arguments, **({ARCHIVES: meant} if meant else {})},
        when=replace(
            when, not_before=None if after else when.not_before, then=repeat.then, after=[*when.after, *after]
        ),
        attempts=attempts,
        store=repeat.store,
        folder=repeat.folder,
        retry_of=retry_of,
        then_retry_of=repeat.followed_by.get(retry_of or "", ()),
    )
