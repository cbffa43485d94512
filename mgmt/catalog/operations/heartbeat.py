"""The heartbeat of running operations, for other hosts, which cannot look at the process.

It also says how far an operation is. It is information for people only: no operation is ever taken over because its
heartbeat stopped. The same thread looks whether somebody has asked an operation to stop, and then interrupts this
process as a signal from outside would.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import select, update

from mgmt.catalog.db.conditions import clock
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import LIVE
from mgmt.catalog.records.operations import OperationRecord, operations
from mgmt.errors import CatalogError
from mgmt.signals import held

INTERVAL_SECONDS = 30.0
"""Seconds between two heartbeats."""

LOOK_SECONDS = 2.0
"""Seconds between two looks for a request to stop."""

RETRY_SECONDS = 1.0
"""Seconds until the next attempt after a heartbeat that would have had to wait for a lock."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """An operation that this process runs, with the owner that the catalog had when it began."""

    operation: OperationRecord
    operation_id: str
    owner: str


class Advance(Protocol):
    """How far the current work of this process is."""

    done: int
    """Bytes."""
    total: int | None
    """Bytes, as far as they are known."""


class Heartbeat:
    """The operations that this process runs. While there are any, a thread updates their `heard_at`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.running: tuple[Running, ...] = ()
        self._ends: dict[str, datetime | None] = {}
        self.advance: Advance | None = None
        """How far the operation is that began last; of several at a time, all of them."""
        self._last_advance = (0.0, 0)

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
        next_beat = time.monotonic() + INTERVAL_SECONDS
        while not stop.wait(max(0.0, min(LOOK_SECONDS, next_beat - time.monotonic()))):
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + (INTERVAL_SECONDS if self._beat() else RETRY_SECONDS)
            if self._is_asked_to_stop():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _is_asked_to_stop(self) -> bool:
        running = self.running
        asked = select(operations.c.operation_id).where(
            operations.c.operation_id.in_([each.operation_id for each in running]),
            operations.c.cancel_requested_by.is_not(None),
        )
        try:
            with self._database.side_transaction() as connection:
                return connection is not None and connection.execute(asked.limit(1)).first() is not None
        except (CatalogError, OSError) as error:
            logger.info("cannot look for requests to stop: %s", error)
            return False

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
        beat = update(operations).where(operations.c.operation_id.in_(unlocked)).values(heard_at=clock())
        try:
            with self._database.side_transaction() as connection:
                if connection is None:
                    return False
                connection.execute(beat)
                if running and (advance := self._advance()):
                    latest = operations.c.operation_id == running[-1].operation_id
                    connection.execute(
                        update(operations).where(latest, operations.c.operation_id.in_(unlocked)).values(advance)
                    )
        except (CatalogError, OSError) as error:
            logger.info("heartbeat failed: %s", error)
        return True

    def _advance(self) -> dict[str, int | None]:
        """The columns that say how far the current work is, and how fast since the last heartbeat."""
        if (advance := self.advance) is None or not advance.done:
            return {}
        before, done = self._last_advance
        self._last_advance = (time.monotonic(), advance.done)
        rate = None
        if before and advance.done >= done:
            rate = int((advance.done - done) / max(self._last_advance[0] - before, 0.001))
        return {"done_bytes": advance.done, "total_bytes": advance.total, "bytes_per_second": rate}
