"""The notifications of one run of a command: written as its operations end, delivered at its end."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mgmt.errors import CatalogError
from mgmt.progress import Progress
from mgmt.services.steps.rules import STARTED, Rule
from mgmt.signals import finish_first

if TYPE_CHECKING:
    from mgmt.catalog import Catalog, End, OperationRecord, OutboxRecord
    from mgmt.services.run import Requested
    from mgmt.services.steps.delivery import Starts

SECONDS = 2.0
"""How long a command takes longer, at most, for its notifications."""


class Notifications:
    """What the rules tell of the operations of this process."""

    def __init__(self, rules: Sequence[Rule], catalog: "Catalog") -> None:
        self._rules = rules
        self._catalog = catalog
        self.requested: Requested | None = None
        """The requested operation that this process runs."""
        self._has_ended = False
        self._starts: Starts | None = None
        catalog.notify_at_end(self._messages)
        if any(STARTED in rule.on for rule in rules):
            catalog.at_begin.append(self._begun)

    def _messages(self, end: "End") -> "Iterator[OutboxRecord]":
        from mgmt.services.steps.notices import messages

        self._has_ended = True
        return messages(end, self._rules)

    def _begun(self, operation: "OperationRecord") -> None:
        from mgmt.services.steps.delivery import Starts

        if self._starts is None:
            self._starts = Starts(self._rules)
        job = self.requested.job if self.requested is not None else None
        is_requested = job is not None and job.operation_id == operation.operation_id
        self._starts.tell(operation, job.schedule if job is not None and is_requested else None)

    def finish(self, progress: Progress) -> None:
        """Deliver what is due, within SECONDS; what a worker's process leaves, the worker delivers. Raises nothing."""
        finish_first()  # the work is done, and its exit status says so
        deadline = time.monotonic() + SECONDS
        if self._starts is not None:
            self._starts.wait(SECONDS)
        if not self._has_ended:
            return
        from mgmt.services.steps.request_arguments import WORKER

        if WORKER in os.environ:
            return
        try:
            self._deliver(progress, deadline)
        except CatalogError as error:  # what the command has done stays done
            progress.note(f"note: notifications wait: {error.message}")

    def _deliver(self, progress: Progress, deadline: float) -> None:
        outbox = self._catalog.outbox
        if not outbox.has_due([rule.name for rule in self._rules]):
            from mgmt.services.steps.notices import expected

            outbox.expect(expected(self._rules, outbox))
            return
        from mgmt.services.steps.delivery import deliver

        if deliver(self._catalog, self._rules, deadline - time.monotonic()):
            progress.note("note: not every notification was delivered; mgmt notify ls")
