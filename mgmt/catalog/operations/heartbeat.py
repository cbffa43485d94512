"""The heartbeat of running operations, for other hosts, which cannot look at the process.

It is information for people only: no operation is ever taken over because its heartbeat stopped.
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

INTERVAL_SECONDS = 30.0
"""Seconds between two heartbeats."""

RETRY_SECONDS = 1.0
"""Seconds until the next attempt after a heartbeat that would have had to wait for a lock."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """An operation that this process runs, with the owner that the catalog had when it began."""

    operation: OperationRecord
    operation_id: str
    owner: str


class Heartbeat:
    """The operations that this process runs. While there are any, a thread updates their `heard_at`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.running: tuple[Running, ...] = ()
        self._ends: dict[str, datetime | None] = {}

    @contextmanager
    def of(self, operation: OperationRecord) -> Iterator[None]:
        """Send heartbeats for `operation`, which this process has just begun or taken up, until the block ends."""
        running = Running(operation, operation.operation_id, str(operation.owner))
        try:
            with held():
                self.running = (*self.running, running)
                if self._thread is None:
                    self._stop = threading.Event()
                    self._thread = threading.Thread(
                        target=self._run, args=[self._stop], name="mgmt heartbeat", daemon=True
                    )
                    self._thread.start()
            yield
        finally:
            with held():
                self.running = tuple(each for each in self.running if each is not running)
                self._ends.pop(running.operation_id, None)
                if not self.running and self._thread is not None:
                    self._stop.set()
                    self._thread.join()
                    self._thread = None

    def note_end(self, operation: OperationRecord) -> None:
        """Remember that this process finishes `operation`, and when."""
        self._ends[operation.operation_id] = operation.completed_at

    def finished_here(self, running: Running) -> bool:
        """Whether the operation has finished as this process recorded it, and not as another one did."""
        return running.operation.completed_at == self._ends.get(running.operation_id)

    def _run(self, stop: threading.Event) -> None:
        seconds = INTERVAL_SECONDS
        while not stop.wait(seconds):
            seconds = INTERVAL_SECONDS if self._beat() else RETRY_SECONDS

    def _beat(self) -> bool:
        """Send a heartbeat; returns False if another writer held the lock, so that it should be sent soon."""
        running = self.running
        unlocked = select(operations.c.operation_id).where(
            operations.c.operation_id.in_([each.operation_id for each in running]),
            operations.c.owner.in_({each.owner for each in running}),
            operations.c.status.in_(LIVE),
        )
        # A row that the session has locked is about to be committed, which is a sign of life as well.
        unlocked = unlocked.with_for_update(skip_locked=True, key_share=True)
        try:
            with self._database.side_transaction() as connection:
                if connection is None:
                    return False
                connection.execute(
                    update(operations).where(operations.c.operation_id.in_(unlocked)).values(heard_at=clock())
                )
        except (CatalogError, OSError) as error:
            logger.info("heartbeat failed: %s", error)
        return True
