"""What to retry of operations that were not done: each target once, as its last attempt was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mgmt.catalog import BatchRecord, Catalog, OperationRecord, Status, waited_for
from mgmt.errors import RefusedError
from mgmt.services.steps.chains import Chains, done_since, in_order
from mgmt.services.steps.removals import repeat_removal
from mgmt.services.steps.repeats import REMOVALS, Repeat, repeat, together
from mgmt.services.steps.requests import ANYWHERE
from mgmt.services.steps.unbegun import begun_since, is_unbegun, never_begun, not_begun

UNDONE = (Status.FAILED, Status.PARTIAL, Status.CANCELLED)
"""The ends of an operation that has not done all that it was asked to."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What to do again, and what not."""

    commands: list[Repeat] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Why an operation is not retried, each a sentence."""


def is_cancelled(operation: OperationRecord) -> bool:
    """Whether it was cancelled by somebody, or with what it waited for."""
    return operation.status == Status.CANCELLED and not (operation.error_message or "").startswith("interrupted")


def _is_left(operation: OperationRecord) -> bool:
    """Whether somebody has cancelled it."""
    return is_cancelled(operation) and not (operation.error_message or "").startswith("cancelled: ")


_Parts = list[tuple[OperationRecord, BatchRecord | None]]
"""Operations, each as a part of a batch or by itself."""

_Known = dict[str, tuple[OperationRecord, list[BatchRecord]]]
"""Operations by their ids, each with all batches that it is a part of."""


@dataclass(slots=True)
class Undone:
    """Finds what to run for operations that were not done, and for what waited for them."""

    catalog: Catalog
    once: bool = False
    """Only the newest of all operations with the same target is retried, unless somebody has cancelled that."""
    refused: list[RefusedError] = field(default_factory=list)
    """Why some of it cannot be repeated."""
    _chains: Chains = field(init=False)
    _repeats: list[Repeat] = field(default_factory=list)
    _left_out: list[str] = field(default_factory=list)
    _seen: dict[str, _Parts] = field(default_factory=dict)
    """Of each batch, what was not done."""
    _left: dict[object, tuple[Repeat, list[BatchRecord]]] = field(default_factory=dict)
    """The targets that nothing has begun, each with the batches that did not come to it."""

    def __post_init__(self) -> None:
        self._chains = Chains(self.catalog)

    def of(self, operations: Sequence[OperationRecord]) -> Retried:
        """What to run, and what is left out."""
        parts = self._newest([part for each in operations for part in self._parts(each)])
        self._note_left(parts)
        waiting = waited_for(self.catalog.database, [*self._chains.attempts(parts), *self._seen])
        with_them = {each.operation_id: each for each in map(self._chains.last_attempt, waiting)}
        together_with = [each for each in with_them.values() if each.operation_id not in parts]
        for each in in_order(self._chains.take_followers([*(part for part, _ in parts.values()), *together_with])):
            _, batches = parts.get(each.operation_id, (each, []))
            self._add(each, batches, is_asked_for=each.operation_id in parts)
        messages = [f"{each.message}: it is not retried" for each in self.refused]
        return Retried(together(self._repeats), [*self._left_out, *messages])

    def _newest(self, found: _Parts) -> _Known:
        """Of the attempts of the same work, the one to retry, with all batches that it is a part of."""
        newest: dict[object, tuple[OperationRecord, list[BatchRecord]]] = {}
        for part, batch in sorted(found, key=lambda each: each[0].seq):
            last = self._chains.last_attempt(part)
            key = _target(last) if self.once else last.operation_id
            known, batches = newest.get(key, (last, []))
            more = [batch] if batch is not None and batch not in batches else []
            newest[key] = (max(known, last, key=lambda each: each.seq), [*batches, *more])
        return {part.operation_id: (part, some) for part, some in newest.values() if not (self.once and _is_left(part))}

    def _parts(self, operation: OperationRecord) -> _Parts:
        """What of `operation` was not done: of a batch that has begun, the last attempts of its targets."""
        if not isinstance(operation, BatchRecord):
            return [(operation, None)]
        if operation.operation_id not in self._seen:
            self._seen[operation.operation_id] = []
            self._seen[operation.operation_id] = self._parts_of_batch(operation)
        return self._seen[operation.operation_id]

    def _parts_of_batch(self, batch: BatchRecord) -> _Parts:
        children = self.catalog.metadata.list_operations(parent=batch.operation_id, limit=None)
        if is_unbegun(batch, children, self.catalog):
            again = self._chains.last_attempt(batch)
            found = [] if again.operation_id == batch.operation_id else self._parts(again)
            is_begun = [part.operation_id for part, _ in found] not in ([], [again.operation_id])
            return [*found, *((part, batch) for part, _ in found)] if is_begun else [(batch, None)]
        found = self._not_begun(batch, children)
        tried_again = {each.retry_of for each in children}
        undone = [each for each in reversed(children) if each.status in UNDONE]
        return [*found, *((each, batch) for each in undone if each.operation_id not in tried_again)]

    def _not_begun(self, batch: BatchRecord, children: Sequence[OperationRecord]) -> _Parts:
        """Repeat the targets that none of its `children` has begun; return what has begun some of them since."""
        try:
            left = not_begun(batch, children)
        except RefusedError as exc:
            self._refuse(exc, [batch])
            return []
        since = begun_since(batch, left[0].command, self.catalog) if left else {}
        found: _Parts = []
        for each in left:
            later = since.get(each.names[0])
            if later is None or (later.status in UNDONE and not self.once and not self._repeats_part(later, batch)):
                key = (each.command, each.names[0], None if self.once else repr((each.arguments, each.folder)))
                _, batches = self._left.get(key, (each, []))
                self._left[key] = (each, [*batches, batch])
            elif later.status in UNDONE:
                found.append((later, batch))
            else:
                has = "has succeeded since" if later.status == Status.SUCCESS else f"is {later.status}"
                what = f"{each.command} {each.names[0]} is not retried: {later.operation_id}"
                self._left_out.append(f"{what}, with the same target, {has}")
                by = None if later.status == Status.SUCCESS else later.operation_id
                self._chains.note_done(batch, by)
        return found

    def _note_left(self, parts: _Known) -> None:
        """Repeat what nothing has begun. If each target is retried once, one of `parts` may do it."""
        known = {(part.operation_type, part.target_path): batches for part, batches in parts.values() if self.once}
        known |= {(part.operation_type, part.target_name): batches for part, batches in parts.values() if self.once}
        for again, batches in self._left.values():
            if (others := known.get((again.command, again.names[0]))) is not None:
                others += [each for each in batches if each not in others]
            else:
                self._note(of_batch(batches, [again]), batches)

    def _repeats_part(self, operation: OperationRecord, batch: BatchRecord) -> bool:
        """Whether it was run to do a part of `batch` again."""
        parent = self.catalog.metadata.get_operation(operation.parent_id) if operation.parent_id is not None else None
        return batch.operation_id in (operation.retry_of, parent.retry_of if parent is not None else None)

    def _add(self, operation: OperationRecord, batches: Sequence[BatchRecord], *, is_asked_for: bool) -> None:
        """Retry an operation, or a batch that was not begun, unless that is needless or impossible."""
        if (done := done_since(operation, self.catalog)) is not None:
            self._left_out.append(done.why)
            self._chains.note_done(operation, done.by, batches)
            return
        try:
            after = self._chains.after(operation, is_asked_for=is_asked_for)
            refused: list[RefusedError] = []
            if isinstance(operation, BatchRecord):
                found, refused = never_begun(operation, self.catalog)
            else:
                found = [repeat_again(operation, self.catalog)]
        except RefusedError as exc:
            self._refuse(exc, batches)
            return
        for each in refused:
            self._refuse(each, [operation])
        followers = self._chains.followers(operation)
        followed_by = {operation.operation_id: followers} if followers else {}
        again = [replace(each, after=after, followed_by=followed_by) for each in found]
        self._note(of_batch(batches, again), [operation, *batches])

    def _note(self, repeats: list[Repeat], operations: Iterable[OperationRecord]) -> None:
        self._repeats += repeats
        for each in operations if repeats else ():
            self._chains.note_repeated(each)

    def _refuse(self, error: RefusedError, operations: Iterable[OperationRecord]) -> None:
        """Of `operations` that are batches, not all can be repeated: what waits for them cannot be."""
        self.refused.append(error)
        for each in operations:
            self._chains.note_impossible(each)


def _target(operation: OperationRecord) -> object:
    """What operations with the same target have in common. A path is one of its machine."""
    if isinstance(operation, BatchRecord) or operation.target_path is None:
        return operation.operation_id
    where = None if operation.operation_type in ANYWHERE else operation.host
    return operation.operation_type, operation.target_path, getattr(operation, "member", None), where


def repeat_again(operation: OperationRecord, catalog: Catalog) -> Repeat:
    """The command that does the work of `operation` again. Raises RefusedError as `repeat` does."""
    again = repeat(operation)
    return repeat_removal(operation, again, catalog) if again.command in REMOVALS else again


def of_batch(batches: Sequence[OperationRecord], repeats: list[Repeat]) -> list[Repeat]:
    """The same as a part of what `batches` did, in as few commands as possible: it repeats the last one."""
    if not batches:
        return repeats
    ids = [each.operation_id for each in batches]
    return together(replace(each, repeats={**each.repeats, "": ids[-1]}, parts_of=ids) for each in repeats)
