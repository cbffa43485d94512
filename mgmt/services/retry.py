"""Do the work of operations again: of those that did not succeed, or of any one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from mgmt.catalog import BatchRecord, Catalog, OperationRecord, Status, waited_for
from mgmt.errors import RefusedError
from mgmt.services.steps.chains import Chains, done_since, in_order
from mgmt.services.steps.removals import repeat_removal
from mgmt.services.steps.repeats import REMOVALS, Repeat, repeat, together
from mgmt.services.steps.request_arguments import ARCHIVES
from mgmt.services.steps.requests import KINDS, Attempts, Request, When, enqueue
from mgmt.services.steps.unbegun import is_unbegun, never_begun, not_begun

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
    retry = _Retry(catalog)
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
    found.sort(key=lambda each: each.seq)
    wanted: dict[str, OperationRecord] = {}
    for each in found:
        if each.operation_type not in (*KINDS, "batch"):
            continue
        if each.status == Status.CANCELLED and not (each.error_message or "").startswith("interrupted"):
            continue
        same = f"{each.operation_type} {getattr(each, 'member', None)} {each.target_path}"
        wanted[each.operation_id if isinstance(each, BatchRecord) else same] = each
    return _Retry(catalog).of([*wanted.values()])


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
    if is_unbegun(operation, children, catalog):
        found, refused = never_begun(operation, catalog)
        if refused and not found:
            raise refused[0]
        return together(found)
    for each in reversed(children):
        newest[each.target_path, getattr(each, "member", None)] = each
    commands = [_repeat(each, catalog) for each in newest.values()]
    return _of_batch(operation, [*commands, *not_begun(operation, children)])


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
                for old in {retry_of, each.repeats.get("")} - {None}:
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


@dataclass(slots=True)
class _Retry:
    """Finds what to run for operations that were not done, and for what waited for them."""

    catalog: Catalog
    refused: list[RefusedError] = field(default_factory=list)
    """Why some of it cannot be repeated."""
    _chains: Chains = field(init=False)
    _repeats: list[Repeat] = field(default_factory=list)
    _left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chains = Chains(self.catalog)

    def of(self, operations: Sequence[OperationRecord]) -> Retried:
        """What to run, and what is left out."""
        parts: dict[str, tuple[OperationRecord, BatchRecord | None]] = {}
        for operation in operations:
            for part, batch in self._parts(operation):
                parts.setdefault(part.operation_id, (part, batch))
        ids = [attempt for part, _ in parts.values() for attempt in self._chains.note_attempts(part)]
        waiting = waited_for(self.catalog.database, [*ids, *(each.operation_id for each in operations)])
        together_with = [each for each in waiting if each.operation_id not in parts]
        for each in in_order(self._chains.take_followers([*(part for part, _ in parts.values()), *together_with])):
            _, batch = parts.get(each.operation_id, (each, None))
            self._add(each, batch, is_asked_for=each.operation_id in parts)
        messages = [f"{each.message}: it is not retried" for each in self.refused]
        return Retried(together(self._repeats), [*self._left_out, *messages])

    def _parts(self, operation: OperationRecord) -> list[tuple[OperationRecord, BatchRecord | None]]:
        """What of `operation` was not done: of a batch that has begun, the last attempts of its targets."""
        if not isinstance(operation, BatchRecord):
            return [(operation, None)]
        children = self.catalog.metadata.list_operations(parent=operation.operation_id, limit=None)
        if is_unbegun(operation, children, self.catalog):
            return [(operation, None)]
        try:
            self._note(_of_batch(operation, not_begun(operation, children)), operation)
        except RefusedError as exc:
            self._refuse(exc, operation)
        tried_again = {each.retry_of for each in children}
        undone = [each for each in reversed(children) if each.status in UNDONE]
        return [(each, operation) for each in undone if each.operation_id not in tried_again]

    def _add(self, operation: OperationRecord, batch: BatchRecord | None, *, is_asked_for: bool) -> None:
        """Retry an operation, or a batch that was not begun, unless that is needless or impossible."""
        if (done := done_since(operation, self.catalog)) is not None:
            self._left_out.append(done.why)
            self._chains.note_done(operation, done.by, batch)
            return
        try:
            after = self._chains.after(operation, is_asked_for=is_asked_for)
            refused: list[RefusedError] = []
            if isinstance(operation, BatchRecord):
                found, refused = never_begun(operation, self.catalog)
            else:
                found = [_repeat(operation, self.catalog)]
        except RefusedError as exc:
            self._refuse(exc, batch)
            return
        for each in refused:
            self._refuse(each, operation)
        followers = self._chains.followers(operation)
        followed_by = {operation.operation_id: followers} if followers else {}
        again = [replace(each, after=after, followed_by=followed_by) for each in found]
        self._note(again if batch is None else _of_batch(batch, again), operation, batch)

    def _note(self, repeats: list[Repeat], *operations: OperationRecord | None) -> None:
        self._repeats += repeats
        for each in operations if repeats else ():
            if each is not None:
                self._chains.note_repeated(each)

    def _refuse(self, error: RefusedError, operation: OperationRecord | None) -> None:
        """Of `operation`, if it is a batch, not all can be repeated: what waits for it cannot be."""
        self.refused.append(error)
        if operation is not None:
            self._chains.note_impossible(operation)


def _repeat(operation: OperationRecord, catalog: Catalog) -> Repeat:
    again = repeat(operation)
    return repeat_removal(operation, again, catalog) if again.command in REMOVALS else again


def _of_batch(batch: OperationRecord, repeats: list[Repeat]) -> list[Repeat]:
    """The same as a part of what `batch` did, in as few commands as possible."""
    return together(replace(each, repeats={**each.repeats, "": batch.operation_id}) for each in repeats)
