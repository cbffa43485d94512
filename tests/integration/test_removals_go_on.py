"""A removal of a copy that was stopped half way: `free` and `recover` find it, and finish it or take it back."""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hidden import as_user
from tests.moments import killed, meanwhile
from tests.program import Done, Program
from tests.trees import describe

pytestmark = pytest.mark.sqlite  # what the catalog is makes no difference here

OK, FAILED, NOT_FOUND, REFUSED = 0, 1, 4, 7
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root, for mounts and flags")
SET_ASIDE = "mgmt.services.steps.set_aside._is_whole"
REMOVING = "mgmt.services.steps.set_aside.remove_tree"


@pytest.fixture(params=["free", "free --all", "recover"])
def finish(request: pytest.FixtureRequest, anywhere: Program) -> Callable[[], Done]:
    """What finishes a removal."""
    words: list[str | Path] = request.param.split()
    if words[0] == "free":
        words += ["--yes"] + ([] if "--all" in words else [anywhere.work / "completed" / "shoot"])
    return lambda: anywhere.run(*words)


@pytest.fixture
def copy(anywhere: Program) -> Path:
    """A folder in completed/."""
    shoot = anywhere.work / "shoot"
    for name in ("a/1", "b/c/2", "z/3"):
        (shoot / name).parent.mkdir(parents=True)
        (shoot / name).write_text(name)
    anywhere.ok("upload", "shoot")
    return anywhere.work / "completed" / "shoot"


def left(copy: Path) -> list[Path]:
    return sorted(copy.parent.glob(".mgmt-*"))


def brought_back(program: Program) -> dict[str, tuple[object, ...]]:
    program.ok("download", "shoot", "--to", "back")
    return describe(program.work / "back" / "shoot")


def assert_gone(program: Program, copy: Path) -> None:
    """The copy is removed, whole, and all that mgmt says is that."""
    assert os.listdir(copy.parent) == []
    assert program.json("ls", "--location", "completed") == []
    assert [each["status"] for each in program.json("ls", "--status", "deleted", "--location", "completed")] == [
        "deleted"
    ]
    assert program.json("recover") == []
    program.ok("verify", "--all")
    program.ok("audit", "verify")
    program.ok("download", "shoot", "--to", "back")


# Killed


@pytest.mark.parametrize("moment", [SET_ASIDE, REMOVING, "half way"])
def test_a_killed_removal_is_finished(anywhere: Program, copy: Path, finish: Callable[[], Done], moment: str) -> None:
    if moment == "half way":
        killed(anywhere, "free", "--yes", copy, at="os.rmdir", after=True)
    else:
        killed(anywhere, "free", "--yes", copy, at=moment)
    assert len(left(copy)) == 1
    assert not copy.exists()
    done = finish()
    assert done.returncode == OK, done
    assert_gone(anywhere, copy)


@pytest.mark.parametrize("moment", [SET_ASIDE, REMOVING])
def test_what_is_edited_after_a_kill_is_taken_back_until_it_was_looked_at(
    anywhere: Program, copy: Path, finish: Callable[[], Done], moment: str
) -> None:
    killed(anywhere, "free", "--yes", copy, at=moment)
    (left(copy)[0] / "a" / "1").write_text("edited")
    done = finish()
    if moment == REMOVING:  # nobody can have it open under a name of his own
        assert done.returncode == OK
        assert_gone(anywhere, copy)
        return
    assert "changed while it was compared" in done.stdout + done.stderr
    assert left(copy) == []
    assert (copy / "a" / "1").read_text() == "edited"
    assert anywhere.run("free", "--yes", copy).returncode == REFUSED
    assert (copy / "a" / "1").read_text() == "edited"
    assert anywhere.json("recover") == []


# Edited between being set aside and the last look


def test_what_is_edited_when_it_is_set_aside_is_back_and_refused(anywhere: Program, copy: Path) -> None:
    with meanwhile(SET_ASIDE, lambda: (left(copy)[0] / "z" / "new").write_text("edited")) as edited:
        done = anywhere.run("free", "--yes", copy)
    assert edited.happened
    assert done.returncode == REFUSED
    assert left(copy) == []
    assert (copy / "z" / "new").read_text() == "edited"
    (copy / "z" / "new").unlink()
    assert anywhere.json("recover") == []
    assert len(anywhere.json("ls", "--location", "completed")) == 1


def test_what_is_edited_and_whose_name_is_taken_stays_where_it_is_and_is_named(anywhere: Program, copy: Path) -> None:
    def edit() -> None:
        (left(copy)[0] / "a" / "1").write_text("edited")
        copy.mkdir()

    with meanwhile(SET_ASIDE, edit):
        done = anywhere.run("free", "--yes", copy)
    [hidden] = left(copy)
    assert done.returncode == REFUSED
    assert str(hidden) in done.stderr
    [named] = anywhere.json("recover")
    assert str(hidden) in named["action"]
    assert (hidden / "a" / "1").read_text() == "edited"
    copy.rmdir()
    [back] = anywhere.json("recover")
    assert "stays" in back["action"]
    assert left(copy) == []
    assert (copy / "a" / "1").read_text() == "edited"
    assert anywhere.json("recover") == []


# What cannot be removed


def unmount(copy: Path, name: str) -> None:
    """Wherever the copy is by now; nothing of it can be tidied up else."""
    done = [subprocess.run(["umount", folder / name], capture_output=True) for folder in (copy, *left(copy))]
    assert 0 in [each.returncode for each in done], done


@pytest.fixture
def immutable(copy: Path) -> Iterator[Callable[[], None]]:
    """A file in the copy cannot be removed, until what this is is called."""
    path = copy / "b" / "c" / "2"
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED: no immutable files here")

    def let_go() -> None:
        for folder in (copy, *left(copy)):
            if (folder / "b" / "c" / "2").exists():
                subprocess.run(["chattr", "-i", folder / "b" / "c" / "2"], check=True)

    yield let_go
    let_go()


@AS_ROOT
def test_an_immutable_file_is_named_and_the_removal_goes_on_when_it_is_not(
    anywhere: Program, copy: Path, finish: Callable[[], Done], immutable: Callable[[], None]
) -> None:
    done = anywhere.run("free", "--yes", copy)
    assert done.returncode == FAILED
    [hidden] = left(copy)
    assert f"{hidden}/b/c/2: Operation not permitted" in done.stderr
    assert f"mgmt free {copy}" in done.stderr
    again = finish()  # it does not help yet, and says the same
    assert f"{hidden}/b/c/2" in again.stdout + again.stderr
    assert (hidden / "b" / "c" / "2").exists()
    immutable()
    assert finish().returncode == OK
    assert_gone(anywhere, copy)


@pytest.mark.parametrize("moment", [SET_ASIDE, REMOVING])
def test_what_may_be_the_last_copy_by_now_is_not_removed(
    anywhere: Program, copy: Path, finish: Callable[[], Done], moment: str
) -> None:
    before = describe(copy)

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with meanwhile(moment, fail):
        assert anywhere.run("free", "--yes", copy).returncode == FAILED
    assert describe(left(copy)[0]) == before
    assert anywhere.run("delete", "--yes", "shoot").returncode == REFUSED
    anywhere.ok("delete", "--last-copy", "--yes", "shoot")
    done = finish()
    assert "missing from the store" in done.stdout + done.stderr
    assert left(copy) == []
    assert describe(copy) == before
    anywhere.ok("upload", "--keep", copy)
    anywhere.ok("free", "--yes", copy)
    assert anywhere.json("recover") == []


@AS_ROOT
@pytest.mark.usefixtures("immutable")
def test_what_is_half_removed_is_shown_as_that(anywhere: Program, copy: Path) -> None:
    assert anywhere.run("free", "--yes", copy).returncode == FAILED
    [hidden] = left(copy)
    [shown] = anywhere.json("ls", "--location", "completed")
    assert shown["status"] == "failed"
    assert str(hidden) in shown["error_message"]
    report = anywhere.json("status", copy)
    assert [each["status"] for each in report["copies"] if each["location"] == "completed"] == ["failed"]
    assert anywhere.run("delete", "--yes", "shoot").returncode == REFUSED  # it is no proof of anything


@AS_ROOT
def test_a_name_that_is_taken_while_a_removal_waits_is_another_copy(
    anywhere: Program, copy: Path, immutable: Callable[[], None]
) -> None:
    assert anywhere.run("free", "--yes", copy).returncode == FAILED
    [hidden] = left(copy)
    (anywhere.work / "shoot").mkdir()
    (anywhere.work / "shoot" / "other").write_text("other")
    anywhere.ok("upload", "--on-conflict", "rename", "shoot")
    assert (copy / "other").exists()
    immutable()
    anywhere.ok("recover")
    assert not hidden.exists()
    assert (copy / "other").read_text() == "other"
    assert [each["status"] for each in anywhere.json("ls", "--location", "completed")] == ["completed"]
    anywhere.ok("free", "--yes", copy)
    assert os.listdir(copy.parent) == []
    anywhere.ok("verify", "--all")


@AS_ROOT
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_what_is_mounted_in_a_copy_is_neither_removed_nor_half_of_the_copy(
    anywhere: Program, copy: Path, tmp_path: Path, kind: str
) -> None:
    precious = tmp_path / "precious"
    shutil.copytree(copy / "b" / "c", precious)
    options = ["-t", "tmpfs", "tmpfs"] if kind == "tmpfs" else ["--bind", precious]
    if subprocess.run(["mount", *options, copy / "b" / "c"], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED: nothing can be mounted here")
    try:
        done = anywhere.run("free", "--yes", copy)
        assert done.returncode == REFUSED, done
        assert f"{copy}/b/c" in done.stderr
        assert "umount" in done.stderr
        assert left(copy) == []
        assert sorted(os.listdir(copy)) == ["a", "b", "z"]
    finally:
        unmount(copy, "b/c")
    assert (precious / "2").exists()
    anywhere.ok("free", "--yes", copy)
    assert_gone(anywhere, copy)


@AS_ROOT
def test_what_is_mounted_when_it_is_set_aside_is_named_and_the_removal_goes_on(
    on_directory: Program, tmp_path: Path
) -> None:
    shoot, precious = on_directory.work / "shoot", tmp_path / "precious"
    (shoot / "a").mkdir(parents=True)
    precious.mkdir()
    (precious / "kept").write_text("kept")
    on_directory.ok("upload", "shoot")
    copy = on_directory.work / "completed" / "shoot"

    def mount() -> None:
        subprocess.run(["mount", "--bind", precious, left(copy)[0] / "a"], check=True)

    with meanwhile(REMOVING, mount):
        done = on_directory.run("free", "--yes", copy)
    try:
        [hidden] = left(copy)
        assert done.returncode == FAILED
        assert f"{hidden}/a: is a mount point" in done.stderr
        assert (precious / "kept").exists()
    finally:
        unmount(copy, "a")
    on_directory.ok("free", "--yes", copy)
    assert os.listdir(copy.parent) == []
    assert (precious / "kept").exists()


# What an ordinary user has made read-only


@pytest.fixture
def of_nobody(on_directory: Program) -> Iterator[Program]:
    """The command, for somebody without rights, where tests of root cannot be reached by others."""
    if os.geteuid() != 0:
        yield on_directory
        return
    home = Path(tempfile.mkdtemp(prefix="mgmt-nobody-"))
    (home / "store").mkdir()
    program = replace(on_directory, home=home, store=f"file://{home}/store")
    _import_all(replace(program, home=home / "warm"))
    program.ok("ls")
    program.work.mkdir(exist_ok=True)
    yield program
    for each in (home, home / "warm"):
        on_directory.catalogs.forget(each)
    shutil.rmtree(home)


def _import_all(program: Program) -> None:
    """What is imported later could not be read by others, where Python belongs to root."""
    (program.work / "warm").write_text("warm")
    program.ok("upload", "warm")
    program.ok("free", "--yes", "warm")
    program.ok("recover")
    program.ok("delete", "--yes", "--last-copy", "warm")
    program.run("free", "missing", "--yes")


def as_nobody(program: Program, *words: str | Path) -> Done:
    if os.geteuid() != 0:
        return program.run(*words)
    for folder, folders, files in os.walk(program.home):
        for path in (Path(folder), *(Path(folder, name) for name in folders + files)):
            os.lchown(path, NOBODY, NOBODY)

    def run() -> tuple[int, str, str]:
        done = program.run(*words)
        return int(done.returncode), done.stdout, done.stderr

    return Done(*as_user(NOBODY, run))


@pytest.mark.parametrize("mode", [0o555, 0o500, 0o400, 0o000])
def test_a_user_frees_what_he_made_read_only_himself(of_nobody: Program, mode: int) -> None:
    shoot = of_nobody.work / "shoot"
    (shoot / "a" / "b").mkdir(parents=True)
    (shoot / "a" / "b" / "1").write_text("one")
    readable = mode if mode & 0o500 == 0o500 else 0o555
    for path in (shoot / "a" / "b" / "1", shoot / "a" / "b", shoot / "a"):
        path.chmod(readable)
    assert as_nobody(of_nobody, "upload", "shoot").returncode == OK
    copy = of_nobody.work / "completed" / "shoot"
    done = as_nobody(of_nobody, "free", "--yes", copy)
    assert done.returncode == OK, done
    assert os.listdir(copy.parent) == []


@pytest.mark.parametrize(("name", "mode"), [("shoot", 0o555), (".", 0o555), (".", 0o333)])
def test_what_a_user_could_not_move_is_refused_before_anything_is_sent(
    of_nobody: Program, name: str, mode: int
) -> None:
    """The kernel moves no folder that is read-only itself, nor anything out of one; and it syncs what can be read."""
    shoot = of_nobody.work / "in" / "shoot"
    shoot.mkdir(parents=True)
    (shoot / "1").write_text("one")
    (shoot.parent / "completed").mkdir()
    (shoot.parent / name).chmod(mode)
    done = as_nobody(of_nobody, "upload", "in/shoot")
    assert done.returncode == REFUSED, done
    assert f"chmod u+rw {shoot.parent / name}" in done.stderr
    assert shoot.exists()
    assert of_nobody.json("ls", "--live") == []
    (shoot.parent / name).chmod(0o755)
    if (name, mode) == ("shoot", 0o555):
        shoot.chmod(mode)
        assert as_nobody(of_nobody, "upload", "--keep", "in/shoot").returncode == OK
        return
    assert as_nobody(of_nobody, "upload", "in/shoot").returncode == OK
    assert as_nobody(of_nobody, "free", "--yes", "in/completed/shoot").returncode == OK
    assert as_nobody(of_nobody, "free", "--yes", of_nobody.work / "nothing").returncode == NOT_FOUND


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root, to give a folder to somebody else")
@pytest.mark.parametrize("command", ["free", "recover"])
def test_a_user_is_told_of_what_is_another_users_and_goes_on_when_it_is_his(of_nobody: Program, command: str) -> None:
    shoot = of_nobody.work / "shoot"
    (shoot / "a").mkdir(parents=True)
    (shoot / "a" / "1").write_text("one")
    (shoot / "b").write_text("b")
    assert as_nobody(of_nobody, "upload", "shoot").returncode == OK
    copy = of_nobody.work / "completed" / "shoot"

    done = _with_theirs(of_nobody, copy, "free", "--yes", copy)
    [hidden] = left(copy)
    assert done.returncode == FAILED
    assert f"{hidden}/a/1: Permission denied" in done.stderr
    assert f"mgmt free {copy}" in done.stderr
    assert (hidden / "a" / "1").exists()
    settle = ["recover"] if command == "recover" else ["free", "--yes", str(copy)]
    assert as_nobody(of_nobody, *settle).returncode == OK  # all of it is nobody's again
    assert os.listdir(copy.parent) == []


def _with_theirs(program: Program, copy: Path, *words: str | Path) -> Done:
    """Run a command of nobody's where a folder of the copy is root's."""
    for folder, folders, files in os.walk(program.home):
        for path in (Path(folder), *(Path(folder, name) for name in folders + files)):
            os.lchown(path, NOBODY, NOBODY)
    os.chown(copy / "a", 0, 0)

    def run() -> tuple[int, str, str]:
        done = program.run(*words)
        return int(done.returncode), done.stdout, done.stderr

    return Done(*as_user(NOBODY, run))
