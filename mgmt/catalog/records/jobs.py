"""Requested work: the jobs that workers run, what they wait for, schedules, and notifications to deliver.

These tables hold what is left to do, not history: a job is removed with the end of its operation, whose record says
how it was requested.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.catalog.records.base import Base, now
from mgmt.catalog.records.types import BigId

LEFT_TO_DO = ("jobs", "job_dependencies", "schedules", "outbox")
"""The tables of this module: each refers only to earlier ones."""


class JobRecord(Base, kw_only=True, eq=False):
    """How and when an operation that has not finished is to be run by a worker."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "queue", "host"),)

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.operation_id"), primary_key=True)
    command: Mapped[str]
    """The command that runs it, such as `upload`."""
    queue: Mapped[str]
    host: Mapped[str | None] = mapped_column(default=None)
    """The only machine that can run it; None for any."""
    store: Mapped[str | None] = mapped_column(default=None)
    """The store to use, if the command was given one."""
    not_before: Mapped[datetime | None] = mapped_column(default=None)
    attempt: Mapped[int] = mapped_column(BigId, default=1)
    attempts: Mapped[int] = mapped_column(BigId, default=1)
    """How many there are at most."""
    backoff_seconds: Mapped[int] = mapped_column(BigId, default=60)
    """How long to wait before the second attempt; twice as long before each further one, up to a day."""
    taken_by: Mapped[str | None] = mapped_column(default=None)
    """The process that runs it, a worker or `mgmt run`: host/boot/pid/start."""
    fanned_out: Mapped[bool] = mapped_column(default=False)
    """Its targets have become operations of their own, and it ends with the last of them."""
    held: Mapped[bool] = mapped_column(default=False)
    """It waits until somebody releases it."""
    template: Mapped[str | None] = mapped_column(default=None)
    schedule: Mapped[str | None] = mapped_column(default=None)
    requested_at: Mapped[datetime] = mapped_column(default_factory=now)


class DependencyRecord(Base, kw_only=True, eq=False):
    """A job that may run only when another operation has succeeded."""

    __tablename__ = "job_dependencies"

    operation_id: Mapped[str] = mapped_column(ForeignKey("jobs.operation_id"), primary_key=True)
    after_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    """No foreign key: the operation may have been pruned."""


class ScheduleRecord(Base, kw_only=True, eq=False):
    """A command to run at certain times."""

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(primary_key=True)
    cron: Mapped[str]
    """Five fields, as in crontab(5)."""
    timezone: Mapped[str]
    """The name of the time zone in which `cron` is meant, such as Europe/Berlin."""
    command: Mapped[list[str]]
    """The command and its arguments, without `mgmt`."""
    host: Mapped[str]
    """The machine that runs it."""
    cwd: Mapped[str]
    """The folder to run it in."""
    queue: Mapped[str | None] = mapped_column(default=None)
    store: Mapped[str | None] = mapped_column(default=None)
    user: Mapped[str | None] = mapped_column(default=None)
    paused: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    last_time: Mapped[datetime | None] = mapped_column(default=None)
    """The last of its times that was run, or skipped."""
    last_operation_id: Mapped[str | None] = mapped_column(default=None)


class OutboxRecord(Base, kw_only=True, eq=False):
    """A notification to deliver, written in the transaction that ends its operation."""

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "delivered_at", "next_try_at"),)

    message_id: Mapped[str] = mapped_column(primary_key=True)
    """The same in each attempt, so that a receiver can ignore what it has already got."""
    rule: Mapped[str]
    """The name of the rule in the configuration, which knows where to send it."""
    event: Mapped[str]
    """What happened, such as `operation.failed`."""
    operation_id: Mapped[str | None] = mapped_column(default=None)
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    next_try_at: Mapped[datetime] = mapped_column(default_factory=now)
    attempts: Mapped[int] = mapped_column(BigId, default=0)
    delivered_at: Mapped[datetime | None] = mapped_column(default=None)
    given_up: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(default=None)
    host: Mapped[str]
    """The machine whose configuration has the rule, and which delivers it."""

    @property
    def content(self) -> dict[str, Any]:
        """The payload; empty where another program wrote a JSON null."""
        return self.payload or {}
