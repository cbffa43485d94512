"""Operations that waited for others: which are asked for again with them, and what they wait for then."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from mgmt.catalog import BatchRecord, Catalog, OperationRecord, Status
from mgmt.errors import RefusedError
from mgmt.services.steps.repeats import REMOVALS
from mgmt.services.steps.request_arguments import AFTER, NAMES, THEN


@dataclass(frozen=True, slots=True)
class Done:
    """Why an operation is not retried."""

    why: str
    by: str | None = None
    """The operation that does its work now and has not ended; None if it is done."""


def done_since(operation: OperationRecord, catalog: Catalog) -> Done | None:
    """What has done the work of `operation` since, or does it now; None if nothing does."""
    what = f"{operation.operation_type} {operation.operation_id}"
    chain = _repeats(operation, catalog)
    while chain:
        each = chain.pop()
        if each.status == Status.SUCCESS:
            return Done(f"{what} is not retried: {each.operation_id}, which did it again, has succeeded")
        if not each.status.is_terminal:
            why = f"{what} is not retried: {each.operation_id}, which does it again, is {each.status}"
            return Done(why, each.operation_id)
        chain += _repeats(each, catalog)
    if operation.target_path is None:
        return None
    for each in catalog.metadata.list_operations(
        operation.operation_type, start_date=operation.started_at, target=operation.target_path, limit=None
    ):
        same = (each.target_path, each.host) == (operation.target_path, operation.host)
        same = same and getattr(each, "member", None) == getattr(operation, "member", None)
        if isinstance(operation, BatchRecord):  # whose target says little more than how many it has
            same = same and each.command_args == operation.command_args
        if same and each.seq > operation.seq and each.status == Status.SUCCESS:
            why = f"{what} is not retried: {each.operation_id} has succeeded since, with the same target"
            return Done(why)
    return None


def _repeats(operation: OperationRecord, catalog: Catalog) -> list[OperationRecord]:
    """The operations that do the whole of its work again: of a batch, what does a part of it says so, too."""
    found = catalog.metadata.repeats_of(operation.operation_id)
    whole = isinstance(operation, BatchRecord)
    return [each for each in found if not whole or isinstance(each, BatchRecord)]


def in_order(operations: Iterable[OperationRecord]) -> list[OperationRecord]:
    """The same, each behind those that it waited for."""
    left = {each.operation_id: each for each in operations}
    found: dict[str, OperationRecord] = {}
    for each in left.values():
        stack = [each]
        while stack:
            before = [left[after] for after in _waited_for(stack[-1]) if after in left and after not in found]
            if before and before[-1] not in stack:
                stack.append(before[-1])
            else:
                found.setdefault(stack[-1].operation_id, stack.pop())
    return list(found.values())


@dataclass(slots=True)
class Chains:
    """What is retried together, in the order in which it is noted."""

    catalog: Catalog
    _repeated: set[str] = field(default_factory=set)
    _impossible: set[str] = field(default_factory=set)
    _attempts: dict[str, OperationRecord] = field(default_factory=dict)
    """Of each attempt, the one that is retried for all of them."""
    _elsewhere: dict[str, list[str]] = field(default_factory=dict)
    """Of what others do or have done, or of parts of it: those of them that have not ended."""
    _followers: dict[str, list[OperationRecord]] = field(default_factory=dict)

    def note_repeated(self, operation: OperationRecord) -> None:
        """`operation` is retried, with what follows it."""
        self._repeated.update([operation.operation_id, *self.followers(operation)])

    def note_impossible(self, operation: OperationRecord) -> None:
        """Not all of `operation` can be retried."""
        self._impossible.add(operation.operation_id)

    def note_done(self, operation: OperationRecord, by: str | None, batches: Iterable[OperationRecord] = ()) -> None:
        """The work of `operation`, a part of `batches`, is done, or is done `by` another one."""
        for each in (operation, *batches):
            self._elsewhere.setdefault(each.operation_id, []).extend([by] if by is not None else [])

    def last_attempt(self, operation: OperationRecord) -> OperationRecord:
        """The attempt that is retried for `operation`: what waits for any attempt waits for the repeat of that.

        It is the newest; the operation itself, if one of them has succeeded or has not ended, or if it removes
        something: its own record says what it meant.
        """
        found = {operation.operation_id: operation}
        left = [operation]
        while left and operation.operation_id not in self._attempts:
            new = [each for each in _repeats(left.pop(), self.catalog) if each.operation_id not in found]
            found |= {each.operation_id: each for each in new}
            left += new
        is_done = any(each.status == Status.SUCCESS or not each.status.is_terminal for each in found.values())
        is_own = is_done or operation.operation_type in REMOVALS
        last = operation if is_own else max(found.values(), key=lambda each: each.seq)
        for each in found:
            self._attempts.setdefault(each, last)
        return self._attempts[operation.operation_id]

    def attempts(self, operations: Collection[str]) -> list[str]:
        """The attempts for which one of `operations` is retried."""
        return [each for each, last in self._attempts.items() if last.operation_id in operations]

    def _retried(self, operation_id: str) -> str:
        """The operation that is retried for this one."""
        last = self._attempts.get(operation_id)
        return operation_id if last is None else last.operation_id

    def take_followers(self, operations: Iterable[OperationRecord]) -> list[OperationRecord]:
        """Those of `operations` that none of them asks for again by itself, as it names their commands in `--then`."""
        some = list(operations)
        among = {each.operation_id: each for each in some}
        left: list[OperationRecord] = []
        for each in sorted(some, key=lambda operation: operation.seq):
            names = each.command_args.get(NAMES)
            named = str(names[0]) if isinstance(names, list) and len(names) == 1 else ""
            first = among.get(self._retried(named))
            then = [] if first is None or first is each else [str(one) for one in first.command_args.get(THEN) or ()]
            known = [] if first is None else self._followers.setdefault(first.operation_id, [])
            if _waited_for(each) and len(known) < len(then) and then[len(known)] == each.operation_type:
                known.append(each)
            else:
                left.append(each)
        own = {each.operation_id for each in left}
        return [each for each in some if each.operation_id in own]

    def followers(self, operation: OperationRecord) -> list[str]:
        """The operations that are asked for again with `operation`, in their order."""
        return [each.operation_id for each in self._followers.get(operation.operation_id, ())]

    def after(self, operation: OperationRecord, *, is_asked_for: bool) -> Sequence[str]:
        """What the repeat of `operation` waits for: what is repeated with it, and what has not ended.

        Raises RefusedError if something else that it waited for has failed and is not retried, unless it is itself what
        was asked for.
        """
        found: list[str] = []
        for each in map(self._retried, _waited_for(operation)):
            is_possible = each not in self._impossible
            if is_possible and (each in self._repeated or each in self._elsewhere):
                found += [each] if each in self._repeated else []
                found += self._elsewhere.get(each, ())
                continue
            other = self.catalog.metadata.get_operation(each)
            if other is None or other.status == Status.SUCCESS:
                continue
            if not other.status.is_terminal:
                found.append(each)
            elif (done := done_since(other, self.catalog)) is not None:
                found += [done.by] if done.by is not None else []
            elif not is_asked_for:
                raise RefusedError(
                    f"{operation.operation_type} {operation.operation_id} waits for {other.operation_type} {each}, too,"
                    f" which ended as {other.status}",
                    next_step=f"mgmt retry --later {each} {operation.operation_id}",
                )
        return list(dict.fromkeys(found))


def _waited_for(operation: OperationRecord) -> list[str]:
    after = operation.command_args.get(AFTER)
    return [str(each) for each in after] if isinstance(after, list) else []
