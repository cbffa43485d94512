"""Selects the pairs of store and catalog for each run.

`make torture` tries every kind of store with every kind of catalog. `make test` tries each row of a table of parameters
with one of these pairs, and a test without parameters with two: on two kinds of store, and with both kinds of catalog.
They take turns, so that each pair is tried by some.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

STORES = {"seaweed", "rclone", "directory"}
Pair = tuple[str, str]
PAIRS: tuple[Pair, ...] = (
    ("seaweed", "sqlite"),
    ("directory", "postgresql"),
    ("rclone", "sqlite"),
    ("seaweed", "postgresql"),
    ("directory", "sqlite"),
)
"""In the order of the turns: each and the next are two kinds of store. rclone need not have a PostgreSQL catalog."""

CATALOGS = ("sqlite", "postgresql")

WORK_MODULES = {
    "test_repeats",
    "test_requested_batches",
    "test_requests",
    "test_worker_hosts",
    "test_worker_parts",
    "test_worker_signals",
}
"""Modules about requested work: each test takes its turn with one kind of catalog.

What the catalogs do with it is tested with both, in tests/catalog/operations.
"""

DIRECTORY_MODULES = {"test_bombs_and_depths"}
"""Modules that take minutes on a server, and do not depend on the catalog."""

Variants = dict[Pair, list[pytest.Function]]
"""One row of a test, with the pairs that it can be tried with."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if isinstance(item, pytest.Function) and item.path.parent.name == "integration"]
    for item in _redundant(here):
        item.add_marker(pytest.mark.torture)


def _redundant(items: Iterable[pytest.Function]) -> Iterator[pytest.Function]:
    tests: dict[tuple[Path, str], dict[object, Variants]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for item in items:
        if item.path.stem in WORK_MODULES and hasattr(item, "callspec") and "catalogs" in item.callspec.params:
            turn = CATALOGS[zlib.crc32(item.originalname.encode()) % 2]
            if item.callspec.params["catalogs"] != turn and not item.get_closest_marker("sqlite"):
                yield item
            continue
        pair, row = _pair_and_row(item)
        if pair is not None:
            tests[item.path, item.originalname][row][pair].append(item)
    for (path, name), rows in tests.items():
        first = zlib.crc32(name.encode())  # so that adding a test changes no other
        for number, variants in enumerate(rows.values(), first):
            tried = _turn(number, variants, 2 if len(rows) == 1 else 1)
            if path.stem in DIRECTORY_MODULES:
                tried = {("directory", "sqlite")}
            yield from (item for pair, found in variants.items() if pair not in tried for item in found)


def _pair_and_row(item: pytest.Function) -> tuple[Pair | None, object]:
    """The store and the catalog of a test, and all its other parameters."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    catalog = parameters.get("catalogs")
    names = {name: str(value).removeprefix("on_") for name, value in parameters.items()}
    by = next((name for name in names if names[name] in STORES), None)
    if by is None or catalog is None or (catalog == "postgresql" and item.get_closest_marker("sqlite")):
        return None, None
    row = tuple((name, id(value)) for name, value in parameters.items() if name not in ("catalogs", by))
    return (names[by], str(catalog)), row


def _turn(number: int, variants: Variants, count: int) -> set[Pair]:
    """The pairs whose turn it is."""
    there = [pair for pair in PAIRS if pair in variants] or list(variants)
    shifted = number + number // len(there)  # else a parameter of as many values would always meet the same pair
    return {there[(shifted + following) % len(there)] for following in range(count)}
