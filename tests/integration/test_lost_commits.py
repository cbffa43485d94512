"""A catalog that has lost its last commits: archives and copies are found again, and nothing is undone."""

import os
from pathlib import Path

import pytest

from mgmt.storage import open_store
from tests.moments import killed, meanwhile
from tests.program import Program
from tests.trees import describe

STAGES = {
    "begun": "mgmt.services.upload.plan_upload",
    "object stored": "mgmt.services.upload.prove",
    "proven": "mgmt.services.upload.finish_upload",
    "before the move": "mgmt.services.steps.move_original.move",
}


@pytest.fixture(params=["clip", "shoot"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file, or a folder."""
    path = tmp_path / "work" / str(request.param)
    (path.parent / "shoot" / "deep").mkdir(parents=True)
    (path.parent / "shoot" / "deep" / "file").write_text("in the folder")
    (path.parent / "clip").write_text("the file")
    return path


def lose_commits_after(program: Program, target: Path, stage: str) -> None:
    """Finish the upload, then revert the catalog to that stage, as if a lagging standby were promoted."""
    killed(program, "upload", target, at=STAGES[stage])
    program.catalogs.copy(program.home, program.home / "standby")
    program.ok("upload", target)
    program.catalogs.copy(program.home / "standby", program.home)
    program.catalogs.forget(program.home / "standby")


def record_completed_folder(program: Program) -> None:
    """Record a first upload, so that the catalog knows the completed folder."""
    (program.work / "earlier").write_text("earlier")
    program.ok("upload", "earlier")


def actions(program: Program) -> dict[str, str]:
    return {each["target"]: each["action"] for each in program.json("recover")}


def assert_whole(program: Program, target: Path, before: dict[str, tuple[object, ...]]) -> None:
    copy = program.work / "completed" / target.name
    assert describe(copy) == before
    assert str(copy) in [each["path"] for each in program.json("ls", "--location", "completed")]
    program.ok("verify", "--all")
    program.ok("free", "--yes", copy)
    program.ok("download", f"{target.name}.tar.gz", "--to", "back")
    assert describe(program.work / "back" / target.name) == before
    assert program.json("recover") == []
    program.ok("audit", "verify")


@pytest.mark.parametrize("stage", STAGES)
def test_recover_adopts_the_archive_and_records_its_copy(anywhere: Program, target: Path, stage: str) -> None:
    record_completed_folder(anywhere)
    before = describe(target)
    lose_commits_after(anywhere, target, stage)
    objects = sorted(each.key for each in open_store(anywhere.store).list())
    anywhere.ok("recover")
    assert sorted(each.key for each in open_store(anywhere.store).list()) == objects
    copy = anywhere.work / "completed" / target.name
    assert describe(copy) == before
    if stage == "begun":  # not even the key was recorded
        anywhere.ok("db", "rebuild")
        assert "recorded" in actions(anywhere)[str(copy)]
    assert_whole(anywhere, target, before)


@pytest.mark.parametrize("stage", STAGES)
def test_repeating_the_upload_undoes_nothing(anywhere: Program, target: Path, stage: str) -> None:
    before = describe(target)
    lose_commits_after(anywhere, target, stage)
    objects = sorted(each.key for each in open_store(anywhere.store).list())
    anywhere.run("upload", target)  # fails: the original has moved
    assert sorted(each.key for each in open_store(anywhere.store).list()) == objects
    assert describe(anywhere.work / "completed" / target.name) == before


def test_recover_reports_a_copy_without_archive_or_record(anywhere: Program, target: Path) -> None:
    """All commits of the upload are lost: the catalog has neither the archive nor the copy."""
    record_completed_folder(anywhere)
    before = describe(target)
    anywhere.catalogs.copy(anywhere.home, anywhere.home / "standby")
    anywhere.ok("upload", target)
    anywhere.catalogs.copy(anywhere.home / "standby", anywhere.home)
    copy = anywhere.work / "completed" / target.name
    assert "would be compared" in anywhere.json("recover", "-n")[0]["action"]
    action = actions(anywhere)[str(copy)]
    assert "in no record" in action
    assert "mgmt db rebuild" in action
    assert f"mgmt upload --keep --on-conflict rename {copy}" in action
    anywhere.ok("db", "rebuild")
    assert "recorded" in actions(anywhere)[str(copy)]
    assert_whole(anywhere, target, before)


def test_an_unarchived_copy_can_be_archived_in_place(on_directory: Program) -> None:
    record_completed_folder(on_directory)
    copy = on_directory.work / "completed" / "loose"
    copy.write_text("nowhere else")
    assert f"mgmt upload --keep --on-conflict rename {copy}" in actions(on_directory)[str(copy)]
    on_directory.ok("upload", "--keep", copy)
    assert actions(on_directory) == {}
    on_directory.ok("download", "loose", "--to", "back")


def test_recover_reads_only_files_of_the_size_of_an_archive(on_directory: Program) -> None:
    """The completed folder may also hold the user's own files."""
    record_completed_folder(on_directory)
    completed = on_directory.work / "completed"
    (completed / "of another size").write_text("something of the user's")
    (completed / "of its size").write_text("earlieR")
    read: list[str] = []

    def note_file(descriptor: int, *_: object) -> bool:
        read.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        return False

    with meanwhile("os.readv", lambda: None, when=note_file):
        found = actions(on_directory)
    assert len(found) == 2
    assert set(read) == {"of its size"}


def test_recover_lists_some_of_many_unknown_files_and_counts_the_rest(on_directory: Program) -> None:
    record_completed_folder(on_directory)
    for number in range(50):
        (on_directory.work / "completed" / f"{number:02}").write_text("something of the user's")
    for words in (["-n"], []):
        assert 20 <= len(on_directory.json("recover", *words)) <= 21
    assert [each["action"] for each in on_directory.json("recover")][-1].startswith("30 more")


@pytest.mark.parametrize(
    "at", ["mgmt.services.steps.set_aside._is_whole", "mgmt.services.steps.set_aside.remove_tree", "os.rmdir"]
)
def test_recover_reports_leftovers_of_an_unrecorded_removal(anywhere: Program, target: Path, at: str) -> None:
    anywhere.ok("upload", target)
    anywhere.catalogs.copy(anywhere.home, anywhere.home / "standby")
    copy, before = anywhere.work / "completed" / target.name, describe(anywhere.work / "completed" / target.name)
    if at == "os.rmdir" and copy.is_file():
        pytest.skip("a file cannot be half removed")
    killed(anywhere, "free", "--yes", copy, at=at)
    anywhere.catalogs.copy(anywhere.home / "standby", anywhere.home)
    [hidden] = copy.parent.iterdir()
    action = actions(anywhere)[str(hidden)]
    assert "left by a removal that is in no record" in action
    if at == "os.rmdir":
        assert "part of it may be gone" in action
        return
    assert f"{target.name}.tar.gz holds it" in action
    assert "mv -n" in action
    hidden.rename(copy)
    assert_whole(anywhere, target, before)


def test_a_found_copy_need_not_match_attributes_that_its_archive_does_not_keep(anywhere: Program, target: Path) -> None:
    """After a loss of the catalog, copies can be freed only if their archives keep all that they have."""
    (anywhere.work / "noted").write_text("noted")
    try:
        os.setxattr(anywhere.work / "noted", "user.note", b"mine")
    except OSError:
        pytest.skip("NOT TESTED: this file system has no extended attributes")
    anywhere.ok("upload", target)
    anywhere.ok("upload", "--xattrs", "noted")
    anywhere.catalogs.copy(anywhere.home, anywhere.home / "standby")
    record_completed_folder(anywhere)
    anywhere.records.change("DELETE FROM operation_files")
    anywhere.records.change("DELETE FROM files WHERE location = 'completed' AND name != 'earlier'")
    os.setxattr(anywhere.work / "completed" / "noted", "user.note", b"changed")
    found = actions(anywhere)
    assert "recorded" in found[str(anywhere.work / "completed" / target.name)]
    assert "no archive" in found[str(anywhere.work / "completed" / "noted")]
    os.setxattr(anywhere.work / "completed" / "noted", "user.note", b"mine")
    assert "recorded" in actions(anywhere)[str(anywhere.work / "completed" / "noted")]
    anywhere.ok("free", "--all", "--yes")
    assert os.listdir(anywhere.work / "completed") == []
