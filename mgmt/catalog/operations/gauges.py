"""What is counted of the operations for metrics: by indexes alone, as it may be counted after each command."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Text, case, cast, func, literal, null, select, union_all

from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.jobs import JobRecord, OutboxRecord, ScheduleRecord
from mgmt.catalog.records.operations import operations

LATEST = 1_000
"""Operations of a type, those that began last, among which its last success is: one that began earlier may end later.
If none of them has succeeded, it is the success that began last."""

PAGE, PAGES = 1_000, 20
"""How many operations that schedules requested are read to find the last success of each schedule."""

_AGAIN = 0.05
"""Seconds after which the next statement is stopped, too."""


class Success(NamedTuple):
    """The last success of a type of operation, or of a schedule."""

    operation_type: str
    schedule: str
    """Empty: of all operations of the type."""
    at: datetime


class Gauges:
    """Counts of operations, jobs and notifications as they are now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Let what is read in the block end with a CatalogError after so many seconds."""
        ended = threading.Event()
        with self._database.reading() as session:
            driver: Any = session.connection().connection.driver_connection
        # Not by a setting of the session, which a pooler would leave to others.
        stop: Callable[[], None] = driver.interrupt if self._database.is_sqlite else driver.cancel

        def watch() -> None:
            expired = not ended.wait(seconds)
            while expired and not ended.wait(_AGAIN):
                stop()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join(_AGAIN)  # a server that is gone may keep it longer

    def operations(self) -> dict[str, dict[str, int]]:
        """The number of operations by type and status."""
        kind, status = operations.c.operation_type, cast(operations.c.status, Text)
        # Nearly all have succeeded: the others are read, and an index counts all.
        totals = select(kind, cast(null(), Text), func.count()).group_by(kind)
        others = [each for each in Status if each is not Status.SUCCESS]
        rest = select(kind, status, func.count()).where(operations.c.status.in_(others)).group_by(kind, status)
        found: dict[str, dict[str, int]] = defaultdict(dict)
        with self._database.reading() as session:
            rows = session.execute(union_all(totals, rest)).all()
        for each, name, number in rows:
            found[each][name or Status.SUCCESS.value] = number
        for counts in found.values():
            counts["success"] -= sum(number for name, number in counts.items() if name != "success")
        return {each: {name: n for name, n in counts.items() if n} for each, counts in sorted(found.items())}

    def successes(self, types: Iterable[str]) -> list[Success]:
        """The last success of each of these types."""
        found = []
        with self._database.reading() as session:
            for each in types:
                query = select(operations.c.completed_at, operations.c.status).order_by(operations.c.seq.desc())
                query = query.where(operations.c.operation_type == each)
                last = query.limit(LATEST).subquery()
                at = session.scalar(select(func.max(last.c.completed_at)).where(last.c.status == Status.SUCCESS))
                if at is None:
                    at = session.scalar(query.where(operations.c.status == Status.SUCCESS).limit(1))
                if at is not None:
                    found.append(Success(each, "", at))
        return found

    def scheduled_successes(self) -> list[Success]:
        """The last success of each schedule, if it is among the last operations that schedules requested."""
        known = select(ScheduleRecord.name, ScheduleRecord.created_at)
        with self._database.reading() as session:
            missing = {row.name: row.created_at for row in session.execute(known)}
        found: list[Success] = []
        query = select(
            operations.c.operation_type, operations.c.completed_at, operations.c.command_args, operations.c.seq
        )
        query = query.where(operations.c.status == Status.SUCCESS, operations.c.parent_id.is_(None))
        query = query.where(cast(operations.c.command_args, Text).like('%"schedule"%'))
        query = query.order_by(operations.c.seq.desc()).limit(PAGE)
        page = query
        for _ in range(PAGES):
            if not missing:
                break
            with self._database.reading() as session:
                rows = session.execute(page.where(operations.c.started_at >= min(missing.values()))).all()
            for kind, at, arguments, _ in rows:
                name = _schedule_of(arguments)
                if name in missing and at is not None:
                    del missing[name]
                    found.append(Success(kind, name, at))
            if len(rows) < PAGE:
                break
            page = query.where(operations.c.seq < rows[-1].seq)
        return sorted(found)

    def schedules(self) -> dict[str, datetime]:
        """The schedules that are not paused, and when each was made."""
        query = select(ScheduleRecord.name, ScheduleRecord.created_at).where(~ScheduleRecord.paused)
        with self._database.reading() as session:
            return {row.name: row.created_at for row in session.execute(query.order_by(ScheduleRecord.name))}

    def queues(self) -> list[tuple[str, str, int]]:
        """The number of jobs by queue and by what they are doing: held, waiting, taken or running."""
        status = case(
            (operations.c.status == Status.RUNNING, literal("running")),
            (JobRecord.held, literal("held")),
            (JobRecord.taken_by.is_not(None), literal("taken")),
            else_=literal("waiting"),
        ).label("state")
        query = select(JobRecord.queue, status).where(~JobRecord.fanned_out)
        jobs = query.join(operations, operations.c.operation_id == JobRecord.operation_id).subquery()
        counted = select(jobs.c.queue, jobs.c.state, func.count()).group_by(jobs.c.queue, jobs.c.state)
        with self._database.reading() as session:
            return [(*each,) for each in session.execute(counted.order_by(jobs.c.queue, jobs.c.state))]

    def notifications(self) -> dict[str, int]:
        """The number of notifications that could not be delivered: `failing`, and those that were `given_up`."""
        query = select(OutboxRecord.given_up, func.count()).where(OutboxRecord.delivered_at.is_(None))
        query = query.where(OutboxRecord.error.is_not(None)).group_by(OutboxRecord.given_up)
        with self._database.reading() as session:
            counts = {bool(given_up): number for given_up, number in session.execute(query)}
        return {"failing": counts.get(False, 0), "given_up": counts.get(True, 0)}


def _schedule_of(arguments: object) -> str:
    """The name of the schedule in the arguments of an operation; empty if there is none."""
    facts = arguments.get("schedule") if isinstance(arguments, dict) else None
    name = facts.get("name") if isinstance(facts, dict) else None
    return name if isinstance(name, str) else ""
