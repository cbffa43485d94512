"""Figures of operations are those that SQL written by hand gives."""

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mgmt.catalog import Catalog, DownloadRecord, FreeRecord, Statistic, Status, UploadRecord, VerifyRecord
from mgmt.catalog.records.operations import OperationRecord
from mgmt.errors import ConfigurationError
from mgmt.services.history import Filter, statistics

BEGIN = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def seconds_of(operation: OperationRecord) -> float:
    """Its duration, both times without what is less than a millisecond."""
    begin, end = operation.started_at, operation.completed_at
    assert end is not None
    begin, end = (each.replace(microsecond=each.microsecond // 1000 * 1000) for each in (begin, end))
    return max(0.0, (end - begin) / timedelta(milliseconds=1)) / 1000


def percentile(values: list[float], share: int) -> float | None:
    """As percentile_disc of SQL defines it."""
    return sorted(values)[math.ceil(len(values) * share / 100) - 1] if values else None


def expected(of_type: str, made: list[OperationRecord]) -> Statistic:
    """Counted in Python."""
    done = [each for each in made if each.status in (Status.SUCCESS, Status.PARTIAL)]
    seconds = [seconds_of(each) for each in done]
    size = {"upload": "original_size", "download": "downloaded_size", "verify": "checked_size"}.get(of_type)
    sized = [each for each in done if size is not None and getattr(each, size) is not None]
    total = sum(getattr(each, str(size)) for each in sized) if sized else None
    took = sum(seconds_of(each) for each in sized)
    counted = {
        name: sum(each.status in statuses for each in made)
        for name, statuses in {
            "succeeded": (Status.SUCCESS,), "failed": (Status.FAILED,), "partial": (Status.PARTIAL,),
            "cancelled": (Status.CANCELLED,), "unfinished": (Status.PENDING, Status.RUNNING),
        }.items()
    }  # fmt: skip
    rate: Any = pytest.approx(total / took) if total is not None and took else None
    facts: dict[str, Any] = {
        **counted, "median_seconds": percentile(seconds, 50), "p95_seconds": percentile(seconds, 95), "bytes": total,
    }  # fmt: skip
    return Statistic(operation_type=of_type, operations=len(made), bytes_per_second=rate, **facts)


@pytest.fixture
def made(catalog: Catalog) -> dict[str, list[OperationRecord]]:
    chance, made = random.Random(4711), dict[str, list[OperationRecord]]()
    with catalog.transaction():
        for number in range(400):
            status = chance.choice([*Status, Status.SUCCESS])
            took = timedelta(microseconds=chance.randint(-10_000_000, 9_000_000_000))
            begun = BEGIN + timedelta(days=number)
            facts = {"started_at": begun, "completed_at": begun + took if status.is_terminal else None,
                     "status": status, "target_path": f"/{number}", "user": chance.choice("ab")}  # fmt: skip
            size = chance.choice([None, 0, chance.randrange(1 << 44)])
            kind: Any
            sizes: Any
            kind, sizes = chance.choice(
                [
                    (UploadRecord, {"original_size": size}),
                    (DownloadRecord, {"downloaded_size": size}),
                    (VerifyRecord, {"checked_size": size or 0}),
                    (FreeRecord, {}),
                ]
            )
            operation: OperationRecord = kind(**sizes, **facts)
            catalog.metadata.save_operation(operation)
            made.setdefault(operation.operation_type, []).append(operation)
    return made


def test_figures_are_exact_on_both_databases(catalog: Catalog, made: dict[str, list[OperationRecord]]) -> None:
    assert catalog.statistics.by_type() == [expected(name, made[name]) for name in sorted(made)]


def test_figures_are_of_what_the_filter_matches(catalog: Catalog, made: dict[str, list[OperationRecord]]) -> None:
    since = BEGIN + timedelta(days=100)
    wanted = [each for each in made["upload"] if each.user == "a" and each.started_at >= since]
    found = statistics(Filter(operation_type="upload", user="a", since=since), catalog)
    assert found == [expected("upload", wanted)]
    assert statistics(Filter(target="/none"), catalog) == []
    with pytest.raises(ConfigurationError):
        statistics(Filter(after=wanted[0].operation_id), catalog)


def test_a_single_one_and_an_unfinished_one(catalog: Catalog) -> None:
    catalog.metadata.save_operation(FreeRecord(started_at=BEGIN, status=Status.PENDING))
    [one] = catalog.statistics.by_type()
    assert (one.operations, one.unfinished, one.median_seconds, one.bytes) == (1, 1, None, None)
