"""The schedules of this machine, as a worker runs them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mgmt.catalog import Catalog, ScheduleRecord, this_host
from mgmt.errors import CatalogError, MgmtError

if TYPE_CHECKING:
    from mgmt.services.steps.due import RequestOf

READ_SECONDS = 30.0
"""How often the schedules are read: so long may it take until a new one is seen."""


def clock() -> datetime:
    """The time; tests set it."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Timetable:
    """Call it every few seconds: it requests what is due. Nothing is read in between, unless a time has come."""

    catalog: Catalog
    request_of: "RequestOf"
    tell: Callable[[str], None]
    """Gets a sentence for people about what did not go as planned."""
    _read: float | None = None
    _next: datetime | None = None
    """The next time of any schedule."""
    _told: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        """Request what is due. Raises CatalogError."""
        fresh = self._read is not None and time.monotonic() - self._read < READ_SECONDS
        if fresh and (self._next is None or clock() < self._next):
            return
        schedules = self.catalog.schedules.all(this_host())
        self._read, self._next = time.monotonic(), None
        if schedules:
            self._run(schedules)

    def _run(self, schedules: Sequence[ScheduleRecord]) -> None:
        from mgmt.services.steps.due import due_time, run_time
        from mgmt.services.steps.times import next_times

        for schedule in schedules:
            name, cron, timezone = schedule.name, schedule.cron, schedule.timezone
            if schedule.paused:
                continue
            try:
                if (time := due_time(schedule, clock())) is not None:
                    ran = run_time(schedule, time, self.request_of, self.catalog)
                    if ran is not None and ran.note is not None:
                        self.tell(f"schedule {name}: {ran.note}")
                following = next_times(cron, timezone, clock(), 1)[0].astimezone(UTC)
            except CatalogError:
                raise
            except MgmtError as error:  # one schedule must not keep the others from running
                if name not in self._told:
                    self._told.add(name)
                    self.tell(f"schedule {name} cannot run: {error.message}")
                continue
            self._next = following if self._next is None else min(self._next, following)
