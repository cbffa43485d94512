"""A parent folder that is replaced by a symbolic link during a command never redirects it.

This is how another user, who owns the folder above, could make root archive or move other files.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.moments import always, killed, meanwhile, of_file
from tests.program import Program
from tests.trees import describe

pytestmark = pytest.mark.sqlite  # these tests do not depend on the catalog

OK, REFUSED = 0, 7
MOMENTS = {
    "before it is planned": "mgmt.services.upload.plan_upload",
    "while it is read": "os.readv",
    "before it is proven": "mgmt.services.upload.prove",
    "before it is moved": "mgmt.services.upload.finish_upload",
    "just before it is moved": "mgmt.services.steps.move_original.move",
}
OURS, THEIRS = "our file", "their file"


def put(path: Path, kind: str, content: str) -> None:
    """Write a file, or a folder with a file in it, always with the same times."""
    file = path / "inner" if kind == "folder" else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    for each in (file, path):
        os.utime(each, ns=(10**18, 10**18))


def content(path: Path) -> str:
    return (path / "inner" if path.is_dir() else path).read_text()


@pytest.fixture(params=["file", "folder"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The target is in `top/in`; the files in `theirs/in` must not be touched."""
    kind: str = request.param
    put(tmp_path / "work" / "top" / "in" / "target", kind, OURS)
    put(tmp_path / "work" / "theirs" / "in" / "target", kind, THEIRS)
    return kind


def swap(program: Program, name: str) -> Callable[[], None]:
    """Returns a function that renames the folder `name` to `away` and replaces it by a link into `theirs`."""
    path = program.work / name

    def do() -> None:
        if path.exists():
            path.rename(program.work / "away")
        theirs = program.work / "theirs" / name.removeprefix("top").strip("/")
        path.symlink_to(theirs)

    return do


def swap_back(program: Program, name: str) -> None:
    (program.work / name).unlink()
    (program.work / "away").rename(program.work / name)


def restored(program: Program, key: str) -> str:
    program.ok("download", key, "--to", "back")
    return content(program.work / "back" / "target")


@pytest.mark.parametrize(("moment", "name"), [(each, "top/in") for each in MOMENTS] + [("before it is moved", "top")])
def test_upload_archives_the_planned_target_or_refuses(anywhere: Program, kind: str, moment: str, name: str) -> None:
    theirs = describe(anywhere.work / "theirs")
    when = of_file("inner" if kind == "folder" else "target") if moment == "while it is read" else always
    with meanwhile(MOMENTS[moment], swap(anywhere, name), when=when) as swapped:
        done = anywhere.run("upload", "top/in/target")
    assert swapped.happened
    assert "Traceback" not in done.stderr
    assert describe(anywhere.work / "theirs") == theirs
    if moment == "before it is planned":
        assert anywhere.json("ls", "--live") == []
    else:
        assert restored(anywhere, "target.tar.gz") == OURS
    away = anywhere.work / "away" / ("" if name == "top/in" else "in")
    if moment == "just before it is moved":  # it moves into the folder that was opened, whatever its name is now
        assert done.returncode == OK, done.stderr
        assert content(away / "completed" / "target") == OURS
    else:
        assert (done.returncode, "symbolic link" in done.stderr) == (REFUSED, True), done.stderr
        assert content(away / "target") == OURS
    swap_back(anywhere, name)
    if done.returncode != OK:
        anywhere.ok("upload", "top/in/target")
    assert content(anywhere.work / "top" / "in" / "completed" / "target") == OURS
    anywhere.ok("verify", "--all")
    assert anywhere.json("recover") == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_upload_moves_the_planned_target_into_another_completed_folder(
    on_directory: Program, kind: str, moment: str
) -> None:
    theirs = describe(on_directory.work / "theirs")
    program = replace(
        on_directory, environment={**on_directory.environment, "MGMT_COMPLETED_DIR": str(on_directory.work / "done")}
    )
    when = of_file("inner" if kind == "folder" else "target") if moment == "while it is read" else always
    with meanwhile(MOMENTS[moment], swap(program, "top/in"), when=when) as swapped:
        program.ok("upload", "top/in/target")
    assert swapped.happened
    assert describe(program.work / "theirs") == theirs
    assert restored(program, "target.tar.gz") == OURS
    assert content(program.work / "done" / "target") == OURS
    assert not (program.work / "away" / "target").exists()


@pytest.mark.parametrize("exists", [True, False], ids=["existing", "new"])
@pytest.mark.parametrize("name", ["done", "done/deep"])
def test_upload_refuses_a_completed_folder_that_becomes_a_link(
    on_directory: Program, kind: str, name: str, exists: bool
) -> None:
    (on_directory.work / "theirs" / name).mkdir(parents=True)
    theirs = describe(on_directory.work / "theirs")
    completed = on_directory.work / "done" / "deep"
    if exists:
        completed.mkdir(parents=True)
    else:
        (on_directory.work / name).parent.mkdir(exist_ok=True)
    program = replace(on_directory, environment={"MGMT_COMPLETED_DIR": str(completed)})
    with meanwhile("mgmt.services.upload.finish_upload", swap(program, name)) as swapped:
        done = program.run("upload", "top/in/target")
    assert swapped.happened
    assert done.returncode == REFUSED, done.stderr
    assert "symbolic link" in done.stderr
    assert describe(program.work / "theirs") == theirs
    assert content(program.work / "top" / "in" / "target") == OURS


@pytest.mark.parametrize("name", ["top", "top/in", "top/in/completed"])
def test_recover_does_not_move_through_a_link(on_directory: Program, kind: str, name: str) -> None:
    (on_directory.work / "top" / "in" / "completed").mkdir()
    (on_directory.work / "theirs" / "in" / "completed").mkdir()
    put(on_directory.work / "theirs" / "in" / "target", kind, OURS)  # not even an equal file
    theirs = describe(on_directory.work / "theirs")
    killed(on_directory, "upload", "top/in/target", at="mgmt.services.steps.move_original.move")
    swap(on_directory, name)()
    [recovered] = on_directory.json("recover")
    assert "symbolic link" in recovered["action"]
    assert recovered["status"] == "failed"
    assert describe(on_directory.work / "theirs") == theirs
    swap_back(on_directory, name)
    assert content(on_directory.work / "top" / "in" / "target") == OURS
    assert on_directory.json("recover") == []
    on_directory.ok("upload", "top/in/target")
    assert content(on_directory.work / "top" / "in" / "completed" / "target") == OURS


FREEING = {
    "while it is compared": "os.readv",
    "before its archive is proven": "mgmt.services.steps.copies.prove_again",
    "before it is set aside": "mgmt.services.free.move",
    "when it is set aside": "mgmt.services.steps.set_aside._is_whole",
    "before it is removed": "mgmt.services.steps.set_aside.remove_tree",
}


@pytest.mark.parametrize("moment", FREEING)
@pytest.mark.parametrize("name", ["top", "top/in/completed"])
def test_free_removes_only_the_copy_that_it_opened(on_directory: Program, kind: str, moment: str, name: str) -> None:
    on_directory.ok("upload", "top/in/target")
    theirs_too = on_directory.work / "theirs" / "in" / "completed"
    shutil.copytree(on_directory.work / "top" / "in" / "completed", theirs_too)
    theirs = describe(on_directory.work / "theirs")
    when = of_file("inner" if kind == "folder" else "target") if moment == "while it is compared" else always
    with meanwhile(FREEING[moment], swap(on_directory, name), when=when) as swapped:
        done = on_directory.run("free", "--yes", "top/in/completed/target")
    assert swapped.happened
    assert describe(on_directory.work / "theirs") == theirs
    assert done.returncode == OK, done.stderr
    found = on_directory.work / "away" / ("" if name != "top" else "in/completed")
    assert os.listdir(found) == []
    assert restored(on_directory, "target.tar.gz") == OURS


@pytest.mark.parametrize("moment", ["when it is set aside", "before it is removed"])
@pytest.mark.parametrize("command", ["recover", "free"])
def test_a_removal_is_not_finished_through_a_link(on_directory: Program, kind: str, moment: str, command: str) -> None:
    copy = on_directory.work / "top" / "in" / "completed" / "target"
    finish = ("recover",) if command == "recover" else ("free", "--yes", str(copy))
    on_directory.ok("upload", "top/in/target")
    killed(on_directory, "free", "--yes", copy, at=FREEING[moment])
    [hidden] = (on_directory.work / "top" / "in" / "completed").iterdir()
    theirs_too = on_directory.work / "theirs" / "in" / "completed"
    put(theirs_too / hidden.name, kind, THEIRS)
    theirs = describe(on_directory.work / "theirs")
    swap(on_directory, "top/in/completed")()
    done = on_directory.run(*finish)
    assert "symbolic link" in done.stdout + done.stderr
    assert describe(on_directory.work / "theirs") == theirs
    swap_back(on_directory, "top/in/completed")
    assert hidden.exists()
    on_directory.ok(*finish)
    assert not hidden.exists()
    assert restored(on_directory, "target.tar.gz") == OURS
