"""Clocks that are wrong: that of this process, and that of a database."""

import sys
from datetime import datetime, timedelta

import pytest
from sqlalchemy import ColumnElement, literal

from mgmt.catalog.operations import due, ending
from mgmt.catalog.records import base
from mgmt.catalog.records.types import UTCDateTime

_now = base.now


def turn_clock(hours: int, patch: pytest.MonkeyPatch | None = None) -> None:
    """Let this process take the time for so many hours later; without `patch`, until it ends."""

    def now() -> datetime:
        return _now() + timedelta(hours=hours)

    change = patch or pytest.MonkeyPatch()
    for name, module in list(sys.modules.items()):
        if name.startswith("mgmt.") and vars(module).get("now") is _now:
            change.setattr(module, "now", now)


def turn_clock_of_database(hours: float, patch: pytest.MonkeyPatch) -> None:
    """Let the database take the time, when it decides what may run, for so many hours later."""

    def clock() -> ColumnElement[datetime]:
        return literal(_now() + timedelta(hours=hours), UTCDateTime)

    for module in (due, ending):
        patch.setattr(module, "clock", clock)
