"""A directory store whose folder is missing: its disk is not mounted, and nothing is known of what it holds."""

from pathlib import Path

import pytest

from mgmt.errors import ExitStatus
from tests.moments import meanwhile
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


def test_a_store_that_another_process_makes_at_this_moment_is_not_missing(on_directory: Program) -> None:
    """It stores its first archive after this one has looked for the folder."""
    store = Path(on_directory.store.removeprefix("file://"))
    store.rmdir()
    for name in ("notes", "film"):
        (on_directory.work / name).write_text(name)
    on_directory.ok("ls")
    other = "mgmt.catalog.files.lookups.Lookups.has_archives_in"
    with meanwhile(other, lambda: on_directory.fork("upload", "film").communicate()) as happened:
        on_directory.ok("upload", "notes")
    assert happened.happened
    assert len(on_directory.json("ls", "--location", "s3")) == 2
