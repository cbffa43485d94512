"""What is tried in each run, and what in the torture.

The torture tries every kind of store with every kind of catalog. A run tries each test with some of these pairs: with
each kind of store once, and with both kinds of catalog. The tests take turns, so that each pair is tried by some.
"""

import zlib

import pytest

STORES = {"seaweed", "rclone", "directory"}
TURNS = (
    {("seaweed", "sqlite"), ("rclone", "sqlite"), ("directory", "postgresql")},
    {("seaweed", "postgresql"), ("rclone", "postgresql"), ("directory", "sqlite")},
)

ABOUT_THE_DISK = {
    "test_forged_indexes",
    "test_limits",
    "test_lost_commits",
    "test_mapped",
    "test_removals_go_on",
    "test_swapped_folders",
}
"""Modules about what is on the disk or in an index: a real server and a directory, each with one catalog, tell it."""

ONLY_A_DIRECTORY = {"test_bombs_and_depths"}
"""Modules that take minutes on a server, and to which the catalog makes no difference."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent.name == "integration" and _only_repeats(item):
            item.add_marker(pytest.mark.torture)


def _only_repeats(item: pytest.Function) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    catalog = parameters.get("catalogs")
    words = {str(value).removeprefix("on_") for value in parameters.values()}
    store = next(iter(STORES & words), None)
    if store is None or catalog is None:
        return False
    if item.path.stem in ONLY_A_DIRECTORY:
        return (store, catalog) != ("directory", "sqlite")
    if item.path.stem in ABOUT_THE_DISK:
        return (store, catalog) not in _both_kinds(item)
    return (store, catalog) not in _turn(item)


def _both_kinds(item: pytest.Function) -> set[tuple[str, str]]:
    if item.get_closest_marker("sqlite"):
        return {("seaweed", "sqlite"), ("directory", "sqlite")}
    return {("seaweed", "sqlite"), ("directory", "postgresql")}


def _turn(item: pytest.Function) -> set[tuple[str, str]]:
    """By the test's name, so that another test changes nothing; rclone is not always given a PostgreSQL catalog."""
    turn = TURNS[zlib.crc32(item.originalname.encode()) % 2]
    return turn if "world" in item.fixturenames else turn | {("rclone", "sqlite")}
