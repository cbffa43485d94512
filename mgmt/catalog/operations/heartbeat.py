"""Telling the catalog now and then that an operation is being worked on, for those who cannot look at its process.

What it tells is for people: nothing is ever taken over because nobody was heard of.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from mgmt.catalog.db.conditions import clock
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import LIVE
from mgmt.catalog.records.operations import OperationRecord, operations
from mgmt.errors import CatalogError
from mgmt.signals import held

RENEW_SECONDS = 30.0
"""How often a running operation is heard of."""

AGAIN_SECONDS = 1.0
"""When to try again if that would have kept somebody waiting, or could not be told."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """An operation that this process has under way; `owner` is what the catalog said when that began."""

    operation: OperationRecord
    operation_id: str
    owner: str


class Lease:
    """What this process has under way. While that is anything, a thread renews `heard_at` of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.held: tuple[Held, ...] = ()
        self._ends: dict[str, datetime | None] = {}

    @contextmanager
    def on(self, operation: OperationRecord) -> Iterator[None]:
        """Hold the lease on `operation`, which has just become ours, for as long as the block lasts."""
        lease = Held(operation, operation.operation_id, str(operation.owner))
        try:
            with held():
                self.held = (*self.held, lease)
                if self._thread is None:
                    self._ended = threading.Event()
                    self._thread = threading.Thread(
                        target=self._renew, args=[self._ended], name="mgmt lease", daemon=True
                    )
                    self._thread.start()
            yield
        finally:
            with held():
                self.held = tuple(each for each in self.held if each is not lease)
                self._ends.pop(lease.operation_id, None)
                if not self.held and self._thread is not None:
                    self._ended.set()
                    self._thread.join()
                    self._thread = None

    def end(self, operation: OperationRecord) -> None:
        """Remember how we end it."""
        self._ends[operation.operation_id] = operation.completed_at

    def has_ended(self, lease: Held) -> bool:
        """The operation has ended, and as we have said."""
        return lease.operation.completed_at == self._ends.get(lease.operation_id)

    def _renew(self, ended: threading.Event) -> None:
        seconds = RENEW_SECONDS
        while not ended.wait(seconds):
            seconds = RENEW_SECONDS if self._tell() else AGAIN_SECONDS

    def _tell(self) -> bool:
        under_way = self.held
        free = select(operations.c.operation_id).where(
            operations.c.operation_id.in_([each.operation_id for each in under_way]),
            operations.c.owner.in_({each.owner for each in under_way}),
            operations.c.status.in_(LIVE),
        )
        # A row that the session has locked is being committed right now, which says as much.
        free = free.with_for_update(skip_locked=True, key_share=True)
        try:
            with self._database.aside() as connection:
                if connection is None:
                    return False
                connection.execute(
                    update(operations).where(operations.c.operation_id.in_(free)).values(heard_at=clock())
                )
        except (CatalogError, OSError) as error:
            logger.info("that work goes on could not be told: %s", error)
            return False
        return True
