"""The inverse of a batch: its operations are undone, the last one first."""

from collections.abc import Callable
from dataclasses import dataclass

from mgmt.catalog import BatchRecord, OperationRecord, Status, UndoRecord
from mgmt.errors import CatalogError, MgmtError, RefusedError
from mgmt.services.steps.context import Context
from mgmt.services.undo.parts import Inverse, Part, cannot
from mgmt.signals import may_stop

WITHOUT_CHANGES = frozenset({"verify", "search", "status"})
"""The operations that leave nothing to undo."""


@dataclass(frozen=True, slots=True)
class BatchInverse:
    """Undoes each operation of `batch`."""

    batch: BatchRecord
    context: Context
    inverse: Callable[[OperationRecord], Inverse]
    undo: Callable[[OperationRecord, Context], UndoRecord]

    def parts(self) -> list[Part]:
        """See `Inverse.parts`. What cannot be undone stays, unless that is all of it."""
        found: list[Part] = []
        refused: list[RefusedError] = []
        children = self._children()
        for each in children:
            try:
                found += self.inverse(each).parts()
            except RefusedError as exc:
                refused.append(exc)
                found.append(Part(action="keep", target=str(each.target_path), why=exc.message))
        if refused and len(refused) == len(children):
            raise RefusedError(f"none of {len(children)} operations can be undone: {refused[0].message}")
        return found

    def run(self, undo: UndoRecord) -> None:
        """See `Inverse.run`."""
        children, errors = self._children(), []
        for each in children:
            may_stop()
            try:
                self.undo(each, self.context.within(undo.operation_id))
            except CatalogError:
                raise
            except MgmtError as exc:
                errors.append(exc)
        if errors and len(errors) == len(children):
            raise type(errors[0])(errors[0].message, next_step=errors[0].next_step)
        if errors:
            undo.status = Status.PARTIAL
            undo.error_message = f"{len(errors)} of {len(children)} operations were not undone: {errors[0].message}"

    def _children(self) -> list[OperationRecord]:
        """Its operations that have changed something and are not undone, the last one first."""
        metadata = self.context.catalog.metadata
        found = metadata.list_operations(parent=self.batch.operation_id, limit=None)
        done = [
            each
            for each in found
            if each.status in (Status.SUCCESS, Status.PARTIAL) and each.operation_type not in WITHOUT_CHANGES
        ]
        if not done:
            raise cannot(self.batch, "none of its operations has changed anything")
        return [each for each in done if metadata.undone_by(each.operation_id) is None]
