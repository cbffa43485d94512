"""Metrics for Prometheus: what is stored, what was done and what waits, as a text file for the node exporter."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

from mgmt import __version__
from mgmt.catalog import Catalog
from mgmt.catalog.files.exposed import Exposed
from mgmt.catalog.files.figures import Figures
from mgmt.catalog.operations.gauges import Gauges
from mgmt.choices import UNVERIFIED_DAYS, WORK
from mgmt.errors import MgmtError
from mgmt.services.steps.exposition import Metric, text_of
from mgmt.services.steps.own_files import Kind, read_regular, replace_own

LIVE = ("pending", "running")

ENDED = ("success", "failed", "partial", "cancelled")

TOOK = "mgmt_metrics_seconds"
"""The metric that says how long it took to make the metrics."""

SHARE = 20
"""After commands, the metrics are made anew when so many times as long has passed as it took to make them."""

LONGEST = 86400.0
"""Seconds after which they are made anew in any case, whatever the file says."""

_TOOK = re.compile(rf"^{TOOK} ([0-9.e+-]+)$", re.MULTILINE)


def metrics(catalog: Catalog, within: float | None = None) -> str:
    """All metrics of the catalog in the text format of Prometheus.

    Raises CatalogError, also if they cannot be read `within` so many seconds.
    """
    began, gauges = time.perf_counter(), Gauges(catalog.database)
    with nullcontext() if within is None else gauges.limited(within):
        found = [*_of_operations(gauges), *_of_archives(catalog), *_of_work(gauges), _version()]
    took = Metric(TOOK, "gauge", "Seconds that it took to read these metrics from the catalog.")
    took.add(round(time.perf_counter() - began, 6))
    return text_of([*found, took])


def write(path: str, text: str) -> None:
    """Write this text to `path`, readable for everybody; a reader sees the old or the new one whole.

    It replaces an earlier metrics file, or an empty file. Raises ConflictError if anything else is there, such as a
    link, MgmtError if it cannot be written.
    """
    try:
        replace_own(path, text.encode(), Kind("a metrics file of mgmt", _is_own, mode=0o644))
    except OSError as error:
        raise MgmtError(
            f"the metrics file {path} cannot be written: {error.strerror}",
            next_step="mgmt config set metrics_file FILE\n# in a folder that this user may write to",
        ) from error


def _is_own(beginning: bytes) -> bool:
    return not beginning or beginning.startswith(b"# HELP mgmt_")


def is_due(path: str) -> bool:
    """Whether the file at `path` is so old that making it anew takes a small share of the time, or is not there.

    So a catalog that is slow to sum up does not slow down a thousand short commands.
    """
    try:
        age = time.time() - os.stat(path, follow_symlinks=False).st_mtime
        found = _TOOK.search((read_regular(path, 1 << 20) or b"").decode(errors="replace"))
        return found is None or not 0 <= age < min(float(found[1]) * SHARE, LONGEST)
    except (OSError, ValueError):
        return True


def _of_operations(gauges: Gauges) -> Iterator[Metric]:
    ended = Metric("mgmt_operations_total", "counter", "Operations that have ended, by how they ended.")
    live = Metric("mgmt_live_operations", "gauge", "Operations that have not ended: requested, or running.")
    counts = gauges.operations()
    every: dict[str, dict[str, int]] = {name: {} for name in WORK} | counts
    for kind, statuses in every.items():
        # Zeros too: Prometheus sees no increase in what appears with the first failure.
        for status in sorted({*ENDED, *statuses}):
            (live if status in LIVE else ended).add(statuses.get(status, 0), type=kind, status=status)
    last = Metric(
        "mgmt_last_success_timestamp_seconds",
        "gauge",
        "When an operation of the type last succeeded, and of each schedule.",
    )
    scheduled = gauges.scheduled_successes()
    for each in (*gauges.successes(counts), *scheduled):
        last.add(round(each.at.timestamp(), 3), type=each.operation_type, schedule=each.schedule)
    since = Metric(
        "mgmt_schedule_expected_since_timestamp_seconds",
        "gauge",
        "Of each schedule that is not paused, its last success; when it was made, until it has one.",
    )
    succeeded = {each.schedule: each.at for each in scheduled}
    for name, made in gauges.schedules().items():
        since.add(round(succeeded.get(name, made).timestamp(), 3), schedule=name)
    yield from (ended, live, last, since)


def _of_archives(catalog: Catalog) -> Iterator[Metric]:
    size = Metric("mgmt_stored_bytes", "gauge", "Bytes of the archives that are stored, by store and storage class.")
    number = Metric("mgmt_stored_archives", "gauge", "Archives that are stored, by store and storage class.")
    old = Metric("mgmt_unverified_archives", "gauge", f"Archives that were not verified within {UNVERIFIED_DAYS} days.")
    damaged = Metric("mgmt_damaged_archives", "gauge", "Archives that the last verification found damaged or missing.")
    damaged.add(Exposed(catalog.database).damaged(0).archives)
    found = Figures(catalog.database).by_store_and_class(datetime.now(UTC) - timedelta(days=UNVERIFIED_DAYS))
    for each in found:
        labels = {"store": each.store, "class": each.storage_class}
        size.add(each.size, **labels)
        number.add(each.archives, **labels)
    old.add(sum(each.unverified for each in found))
    yield from (size, number, old, damaged)


def _of_work(gauges: Gauges) -> Iterator[Metric]:
    queue = Metric("mgmt_queue_length", "gauge", "Requested operations, by queue and by what they are doing.")
    for name, status, number in gauges.queues():
        queue.add(number, queue=name, status=status)
    notices = Metric("mgmt_undelivered_notifications", "gauge", "Notifications that could not be delivered.")
    for status, number in gauges.notifications().items():
        notices.add(number, status=status)
    yield from (queue, notices)


def _version() -> Metric:
    version = Metric("mgmt_build_info", "gauge", "The version of mgmt, as a label; always 1.")
    version.add(1, version=__version__)
    return version
