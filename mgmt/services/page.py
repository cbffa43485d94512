"""The report as a page: what it lists, and the file that it is."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from mgmt.archive import rename_noreplace
from mgmt.catalog import Catalog, PastOperation, StoredArchive
from mgmt.errors import ConfigurationError, ConflictError
from mgmt.paths import absolute, sync_folder
from mgmt.services.steps.figures import Report

MARK = b'<meta name="generator" content="mgmt '
"""What a page of mgmt has among its first bytes."""
BEGINNING = 4096

ARCHIVES = 10_000
"""Archives that a page lists unless the user asks for more."""
OPERATIONS, OPERATIONS_OF_A_MONTH = 3000, 50

PARTIAL = ".mgmt-partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The part of a month that the report covers."""

    month: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a page lists besides the figures."""

    archives: tuple[StoredArchive, ...]
    """The newest first."""
    periods: tuple[Period, ...]
    """Of each month of the report, in order."""
    operations: tuple[tuple[PastOperation, ...], ...]
    """Of each month some: those that failed, then the newest."""


def listed(report: Report, catalog: Catalog, archives: int = ARCHIVES) -> Listed:
    """What a page of `report` lists: up to so many `archives`, and of each month some operations."""
    periods = tuple(_periods(report))
    each = max(5, min(OPERATIONS_OF_A_MONTH, OPERATIONS // max(1, len(periods))))
    found = catalog.page_rows.operations([(period.since, period.until) for period in periods], each)
    return Listed(
        archives=tuple(catalog.page_rows.archives(archives)),
        periods=periods,
        operations=tuple(map(tuple, found)),
    )


def save(file: str, text: str) -> str:
    """Write the page to `file` and return its full path; `file` is the old page or the new one, never a part of it.

    A page of mgmt that is there already is replaced, and keeps its mode. Raises ConflictError if `file` is anything
    else, ConfigurationError if it cannot be written.
    """
    path = os.path.realpath(absolute(file))
    try:
        mode = _mode_of_page(path)
        partial = f"{path}{PARTIAL}-{os.getpid()}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as out:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                out.write(text.encode())
                out.flush()
                os.fsync(descriptor)
            _publish(partial, path, replace=mode is not None)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_folder(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", next_step="use another FILE") from error
    return path


def _mode_of_page(path: str) -> int | None:
    """The mode of the page at `path`; None if nothing is there."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as there:
            if MARK in there.read(BEGINNING):
                return stat.S_IMODE(found.st_mode)
    raise _in_the_way(path)


def _publish(partial: str, path: str, *, replace: bool) -> None:
    if replace:
        os.replace(partial, path)
        return
    try:
        rename_noreplace(partial, path)
    except ConflictError as error:
        raise _in_the_way(path) from error


def _in_the_way(path: str) -> ConflictError:
    return ConflictError(f"{path} exists, and is not a page of mgmt", next_step="use another FILE, or move it away")


def _periods(report: Report) -> Iterator[Period]:
    months = [each.month for each in report.months]
    if not months:
        return
    starts = [datetime(int(each[:4]), int(each[5:7]), 1, tzinfo=UTC) for each in months]
    last = starts[-1]
    end = last.replace(year=last.year + last.month // 12, month=last.month % 12 + 1)
    for month, (since, until) in zip(months, pairwise([*starts, end]), strict=True):
        yield Period(
            month=month,
            since=since if report.since is None else max(since, report.since),
            until=until if report.until is None else min(until, report.until),
        )
