"""A catalog that has lost its last commits: what the store and completed/ hold is found again, nothing is undone."""

import os
from pathlib import Path

import pytest

from mgmt.storage import open_store
from tests.moments import killed, meanwhile
from tests.program import Program
from tests.trees import describe

STAGES = {
    "when it had begun": "mgmt.services.upload.plan_upload",
    "when the object stood": "mgmt.services.upload.prove",
    "when it was proven": "mgmt.services.upload.finish_upload",
    "just before it was moved": "mgmt.services.steps.move_original.move",
}


@pytest.fixture(params=["clip", "shoot"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file, or a folder."""
    path = tmp_path / "work" / str(request.param)
    (path.parent / "shoot" / "deep").mkdir(parents=True)
    (path.parent / "shoot" / "deep" / "file").write_text("in the folder")
    (path.parent / "clip").write_text("the file")
    return path


def lose_what_followed(program: Program, target: Path, stage: str) -> None:
    """Upload it to the end, and then let the catalog be what it was at that stage, as a standby that is promoted."""
    killed(program, "upload", target, at=STAGES[stage])
    program.catalogs.copy(program.home, program.home / "standby")
    program.ok("upload", target)
    program.catalogs.copy(program.home / "standby", program.home)
    program.catalogs.forget(program.home / "standby")


def known_folder(program: Program) -> None:
    """Let the catalog know the completed folder."""
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
def test_an_archive_is_adopted_and_its_copy_recorded(anywhere: Program, target: Path, stage: str) -> None:
    known_folder(anywhere)
    before = describe(target)
    lose_what_followed(anywhere, target, stage)
    objects = sorted(each.key for each in open_store(anywhere.store).list())
    anywhere.ok("recover")
    assert sorted(each.key for each in open_store(anywhere.store).list()) == objects
    copy = anywhere.work / "completed" / target.name
    assert describe(copy) == before
    if stage == "when it had begun":  # not even the key was written down
        anywhere.ok("db", "rebuild")
        assert "recorded" in actions(anywhere)[str(copy)]
    assert_whole(anywhere, target, before)


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_upload_again_undoes_nothing_either(anywhere: Program, target: Path, stage: str) -> None:
    before = describe(target)
    lose_what_followed(anywhere, target, stage)
    objects = sorted(each.key for each in open_store(anywhere.store).list())
    anywhere.run("upload", target)  # it is not there any more
    assert sorted(each.key for each in open_store(anywhere.store).list()) == objects
    assert describe(anywhere.work / "completed" / target.name) == before


def test_a_copy_without_archive_or_record_is_named(anywhere: Program, target: Path) -> None:
    """All of the upload is lost: the catalog knows neither the archive nor the copy."""
    known_folder(anywhere)
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


def test_a_copy_that_no_archive_holds_can_be_archived_where_it_is(on_directory: Program) -> None:
    known_folder(on_directory)
    copy = on_directory.work / "completed" / "loose"
    copy.write_text("nowhere else")
    assert f"mgmt upload --keep --on-conflict rename {copy}" in actions(on_directory)[str(copy)]
    on_directory.ok("upload", "--keep", copy)
    assert actions(on_directory) == {}
    on_directory.ok("download", "loose", "--to", "back")


def test_what_has_no_archive_s_size_is_not_read(on_directory: Program) -> None:
    """The completed folder may be one that the user has for other things."""
    known_folder(on_directory)
    completed = on_directory.work / "completed"
    (completed / "of another size").write_text("something of the user's")
    (completed / "of its size").write_text("earlieR")
    read: list[str] = []

    def looked(descriptor: int, *_: object) -> bool:
        read.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        return False

    with meanwhile("os.readv", lambda: None, when=looked):
        found = actions(on_directory)
    assert len(found) == 2
    assert set(read) == {"of its size"}


def test_of_many_things_of_the_users_some_are_named_and_all_are_counted(on_directory: Program) -> None:
    known_folder(on_directory)
    for number in range(50):
        (on_directory.work / "completed" / f"{number:02}").write_text("something of the user's")
    for words in (["-n"], []):
        assert 20 <= len(on_directory.json("recover", *words)) <= 21
    assert [each["action"] for each in on_directory.json("recover")][-1].startswith("30 more")


@pytest.mark.parametrize(
    "at", ["mgmt.services.steps.set_aside._is_whole", "mgmt.services.steps.set_aside.remove_tree", "os.rmdir"]
)
def test_what_a_removal_that_is_in_no_record_has_left_is_named(anywhere: Program, target: Path, at: str) -> None:
    anywhere.ok("upload", target)
    anywhere.catalogs.copy(anywhere.home, anywhere.home / "standby")
    copy, before = anywhere.work / "completed" / target.name, describe(anywhere.work / "completed" / target.name)
    if at == "os.rmdir" and copy.is_file():
        pytest.skip("a file is not half removed")
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


def test_owners_and_attributes_that_an_archive_does_not_keep_are_not_asked_of_a_found_copy(
    anywhere: Program, target: Path
) -> None:
    """Who lost the catalog can free the copies all the same, and only those whose archive keeps what they have."""
    (anywhere.work / "noted").write_text("noted")
    try:
        os.setxattr(anywhere.work / "noted", "user.note", b"mine")
    except OSError:
        pytest.skip("NOT TESTED: no extended attributes here")
    anywhere.ok("upload", target)
    anywhere.ok("upload", "--xattrs", "noted")
    anywhere.catalogs.copy(anywhere.home, anywhere.home / "standby")
    known_folder(anywhere)
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
