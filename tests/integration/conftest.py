"""Selects the pairs of store and catalog for each run.

`make torture` tries every kind of store with every kind of catalog. `make test` tries each test with some of these
pairs: with each kind of store once, and with both kinds of catalog. The tests take turns, so that some try each pair.
"""

import zlib

import pytest

STORES = {"seaweed", "rclone", "directory"}
TURNS = (
    {("seaweed", "sqlite"), ("rclone", "sqlite"), ("directory", "postgresql")},
    {("seaweed", "postgresql"), ("rclone", "postgresql"), ("directory", "sqlite")},
)

CATALOGS = ("sqlite", "postgresql")

DISK_MODULES = {
    "test_forged_indexes",
    "test_limits",
    "test_lost_commits",
    "test_mapped",
    "test_interrupted_removals",
    "test_swapped_folders",
}
"""Modules about the disk or an index: a real server and a directory, each with one catalog, are enough."""

ON_A_DISK = ("seaweed", "on a disk")
"""Originals in memory may have more times and attributes: they are tried with both stores, those on a disk with one."""

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent.name == "integration" and _is_redundant(item):
            item.add_marker(pytest.mark.torture)


def _is_redundant(item: pytest.Function) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    catalog = parameters.get("catalogs")
    values = {str(value).removeprefix("on_") for value in parameters.values()}
    if item.path.stem in WORK_MODULES and catalog is not None:
        return catalog != CATALOGS[zlib.crc32(item.originalname.encode()) % 2]
    store = next(iter(STORES & values), None)
    if store is None or catalog is None:
        return False
    if item.path.stem in DIRECTORY_MODULES:
        return (store, catalog) != ("directory", "sqlite")
    if item.path.stem in DISK_MODULES:
        return (store, catalog) not in _both_kinds(item) or (store, parameters.get("here")) == ON_A_DISK
    return (store, catalog) not in _turn(item)


def _both_kinds(item: pytest.Function) -> set[tuple[str, str]]:
    if item.get_closest_marker("sqlite"):
        return {("seaweed", "sqlite"), ("directory", "sqlite")}
    return {("seaweed", "sqlite"), ("directory", "postgresql")}


def _turn(item: pytest.Function) -> set[tuple[str, str]]:
    """Chosen by the test's name, so that adding a test changes no other; rclone need not have a PostgreSQL catalog."""
    turn = TURNS[zlib.crc32(item.originalname.encode()) % 2]
    return turn if "world" in item.fixturenames else turn | {("rclone", "sqlite")}
