"""Objects that are not mgmt's are ignored when the user says so, and nothing else is."""

import shutil
from pathlib import Path

import pytest

from mgmt.errors import ExitStatus
from tests.program import Program


@pytest.fixture
def shared(on_directory: Program) -> Program:
    """A store that also holds somebody else's objects."""
    store = Path(on_directory.store.removeprefix("file://"))
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "notes")
    (store / "README").write_text("theirs")
    (store / "thumbs" / "2024").mkdir(parents=True)
    (store / "thumbs" / "2024" / "1.jpg").write_text("theirs")
    return on_directory


def unknown(program: Program) -> int:
    done = program.run("verify", "--all")
    assert done.returncode == (ExitStatus.INTEGRITY if "unknown" in done.stdout else 0)
    return done.stdout.count("unknown")


def test_ignored_objects_are_not_unknown(shared: Program) -> None:
    assert unknown(shared) == 2
    assert shared.run("db", "rebuild").returncode == ExitStatus.PARTIAL
    shared.ok("ignore", "README", f"{shared.store}/thumbs/")
    assert unknown(shared) == 0
    shared.ok("db", "rebuild")
    listed = [each["target_path"] for each in shared.json("ignore")]
    assert listed == [f"{shared.store}/README", f"{shared.store}/thumbs/"]


def test_what_is_no_longer_ignored_is_unknown_again(shared: Program) -> None:
    shared.ok("ignore", "README", "thumbs/")
    shared.ok("ignore", "--undo", "README")
    assert [each["target_name"] for each in shared.json("ignore")] == ["thumbs/"]
    assert unknown(shared) == 1
    assert shared.run("ignore", "--undo", "README").returncode == ExitStatus.NOT_FOUND


def test_archives_are_verified_where_everything_else_is_ignored(shared: Program) -> None:
    (shared.work / "more").write_text("precious too")
    shared.ok("upload", "more", "--key", "thumbs/more.tar.gz")
    shared.ok("ignore", "thumbs/", "README")
    Path(shared.store.removeprefix("file://"), "thumbs/more.tar.gz").unlink()
    done = shared.run("verify", "--all")
    assert (done.returncode, done.stdout.count("missing")) == (ExitStatus.INTEGRITY, 1)


def test_an_archive_and_its_index_are_not_ignored(shared: Program) -> None:
    assert shared.run("ignore", "notes.tar.gz").returncode == ExitStatus.REFUSED
    (index,) = [each for each in Path(shared.store.removeprefix("file://")).iterdir() if ".index." in each.name]
    assert shared.run("ignore", index.name).returncode == ExitStatus.REFUSED
    assert shared.json("ignore") == []


@pytest.mark.parametrize("key", ["thumbs/more.tar.gz", "thumbs/more"])
def test_an_archive_that_the_catalog_has_lost_is_not_hidden(shared: Program, key: str) -> None:
    (shared.work / "more").write_text("precious too")
    shared.ok("ignore", "thumbs/", "README")
    shared.ok("upload", "more", "--key", key)
    shared.records.remove()
    shared.ok("ignore", "thumbs/", "README")
    assert shared.run("verify", "--all").stdout.count("unknown") >= 3
    shared.ok("db", "rebuild")
    assert {each["path"] for each in shared.json("ls")} == {"notes.tar.gz", key}
    assert unknown(shared) == 0


@pytest.mark.parametrize("key", ["notes.tar.gz", "other"])
def test_an_archive_of_another_catalog_is_not_ignored(shared: Program, key: str) -> None:
    (shared.work / "other").write_text("precious too")
    shared.ok("upload", "other", "--key", "other")
    shared.records.remove()
    store = Path(shared.store.removeprefix("file://"))
    (index,) = [each.name for each in store.iterdir() if each.name.startswith(f"{key}.") and ".index." in each.name]
    for name in (key, index):
        done = shared.run("ignore", name)
        assert done.returncode == ExitStatus.REFUSED
        assert "db rebuild" in done.stderr
    assert shared.json("ignore") == []


def test_an_archive_without_its_metadata_is_known_by_its_index(shared: Program) -> None:
    shared.records.remove()
    shutil.rmtree(Path(shared.store.removeprefix("file://"), ".mgmt"))
    assert shared.run("ignore", "notes.tar.gz").returncode == ExitStatus.REFUSED


def test_a_foreign_tar_below_a_prefix_is_ignored_by_its_name(shared: Program) -> None:
    Path(shared.store.removeprefix("file://"), "thumbs/theirs.tar.gz").write_text("theirs")
    shared.ok("ignore", "thumbs/", "README")
    assert unknown(shared) == 1
    shared.ok("ignore", "thumbs/theirs.tar.gz")
    assert unknown(shared) == 0
    shared.ok("db", "rebuild")


@pytest.mark.parametrize("key", ["theirs.index.jsonl.gz", "notes.tar.gz.index.jsonl.gz", "thumbs/.index.jsonl.gz"])
def test_a_foreign_object_with_the_suffix_of_an_index_is_ignored_by_its_name(shared: Program, key: str) -> None:
    Path(shared.store.removeprefix("file://"), key).write_text("theirs")
    shared.ok("ignore", "README", "thumbs/")
    done = shared.run("verify", "--all")
    assert done.returncode == ExitStatus.INTEGRITY
    assert f"{shared.store}/{key} is foreign" in done.stderr
    assert key in shared.json("db", "rebuild")["metadata"]["foreign"]
    shared.ok("ignore", key)
    assert unknown(shared) == 0
    shared.ok("download", "notes", "--to", "back")


@pytest.mark.parametrize("key", ["missing", "READ", "thumb"])
def test_a_key_without_an_object_is_not_ignored(shared: Program, key: str) -> None:
    assert shared.run("ignore", key).returncode == ExitStatus.NOT_FOUND
    assert shared.json("ignore") == []


@pytest.mark.parametrize("arguments", [("",), ("--undo",)])
def test_a_key_is_needed(shared: Program, arguments: tuple[str, ...]) -> None:
    assert shared.run("ignore", *arguments).returncode == ExitStatus.USAGE


def test_the_list_survives_pruning(shared: Program) -> None:
    shared.ok("ignore", "README")
    shared.ok("search", "notes")
    assert shared.json("db", "prune", "--before", "0s", "--export", "old.jsonl.gz", "--yes")["removed_count"] > 0
    assert [each["target_name"] for each in shared.json("ignore")] == ["README"]
