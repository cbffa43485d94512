"""A directory store whose folder is missing: its disk is not mounted, and nothing is known of what it holds."""

from pathlib import Path

import pytest

from mgmt.errors import ExitStatus
from tests.program import Program


@pytest.fixture
def unmounted(on_directory: Program) -> Program:
    (on_directory.work / "notes").write_text("precious")
    (on_directory.work / "film").write_text("more")
    on_directory.ok("upload", "notes", "--keep")
    store = Path(on_directory.store.removeprefix("file://"))
    store.rename(store.with_name("elsewhere"))
    return on_directory


@pytest.mark.parametrize(
    "command", ["delete notes --yes", "delete notes --yes --last-copy", "upload film", "verify --all", "download notes"]
)
def test_no_command_takes_it_for_an_empty_store(unmounted: Program, command: str) -> None:
    done = unmounted.run(*command.split())
    assert done.returncode == ExitStatus.UNAVAILABLE
    assert "its disk may not be mounted" in done.stderr
    assert (unmounted.work / "film").exists()
    store = Path(unmounted.store.removeprefix("file://"))
    assert not store.exists()
    store.with_name("elsewhere").rename(store)
    unmounted.ok("verify", "--all")
    unmounted.ok("download", "notes", "--to", "back")


def test_a_new_store_is_created(on_directory: Program) -> None:
    Path(on_directory.store.removeprefix("file://")).rmdir()
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "notes")
