"""What is tried in each run, and what in the torture."""

import pytest

EACH_KIND_ONCE = {
    "test_bombs_and_depths",
    "test_forged_indexes",
    "test_limits",
    "test_lost_commits",
    "test_mapped",
    "test_removals_go_on",
    "test_swapped_folders",
}
"""Modules about what is on the disk or in an index: a directory store and a real server, with SQLite, and a directory
with PostgreSQL tell it. Every store with every catalog is tried in the torture."""

SLOW_ON_SERVERS = {"test_bombs_and_depths"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        module, name = item.path.stem, item.name
        if module not in EACH_KIND_ONCE:
            continue
        is_server = "on_seaweed" in name or "on_rclone" in name
        if "on_rclone" in name or (is_server and ("postgresql" in name or module in SLOW_ON_SERVERS)):
            item.add_marker(pytest.mark.torture)
