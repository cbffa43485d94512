"""An interrupted removal of a copy: `free` and `recover` find it, and finish it or put the copy back."""

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

pytestmark = pytest.mark.sqlite  # these tests do not depend on the catalog

OK, FAILED, NOT_FOUND, REFUSED = 0, 1, 4, 7
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root, for mounts and flags")
SET_ASIDE = "mgmt.services.steps.set_aside._is_whole"
REMOVING = "mgmt.services.steps.set_aside.remove_tree"


@pytest.fixture(params=["free", "free --all", "recover"])
def finish(request: pytest.FixtureRequest, anywhere: Program) -> Callable[[], Done]:
    """Each of the commands that finish a removal."""
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


def downloaded(program: Program) -> dict[str, tuple[object, ...]]:
    program.ok("download", "shoot", "--to", "back")
    return describe(program.work / "back" / "shoot")


def assert_removed(program: Program, copy: Path) -> None:
    """The copy is removed completely, and recorded as deleted."""
    assert os.listdir(copy.parent) == []
    assert program.json("ls", "--location", "completed") == []
    assert [each["status"] for each in program.json("ls", "--status", "deleted", "--location", "completed")] == [
        "deleted"
    ]
    assert program.json("recover") == []
    program.ok("verify", "--all")
    program.ok("audit", "verify")
    program.ok("download", "shoot", "--to", "back")


# Removals that were killed


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
    assert_removed(anywhere, copy)


@pytest.mark.parametrize("moment", [SET_ASIDE, REMOVING])
def test_a_copy_edited_after_a_kill_is_put_back_unless_its_removal_had_begun(
    anywhere: Program, copy: Path, finish: Callable[[], Done], moment: str
) -> None:
    killed(anywhere, "free", "--yes", copy, at=moment)
    (left(copy)[0] / "a" / "1").write_text("edited")
    done = finish()
    if moment == REMOVING:  # nobody can have opened it under its own name
        assert done.returncode == OK
        assert_removed(anywhere, copy)
        return
    assert "changed while it was compared" in done.stdout + done.stderr
    assert left(copy) == []
    assert (copy / "a" / "1").read_text() == "edited"
    assert anywhere.run("free", "--yes", copy).returncode == REFUSED
    assert (copy / "a" / "1").read_text() == "edited"
    assert anywhere.json("recover") == []


# Copies edited between being set aside and the last check


def test_a_copy_edited_while_it_is_set_aside_is_put_back_and_refused(anywhere: Program, copy: Path) -> None:
    with meanwhile(SET_ASIDE, lambda: (left(copy)[0] / "z" / "new").write_text("edited")) as edited:
        done = anywhere.run("free", "--yes", copy)
    assert edited.happened
    assert done.returncode == REFUSED
    assert left(copy) == []
    assert (copy / "z" / "new").read_text() == "edited"
    (copy / "z" / "new").unlink()
    assert anywhere.json("recover") == []
    assert len(anywhere.json("ls", "--location", "completed")) == 1


def test_an_edited_copy_whose_name_is_taken_stays_set_aside_and_is_reported(anywhere: Program, copy: Path) -> None:
    def edit() -> None:
        (left(copy)[0] / "a" / "1").write_text("edited")
        copy.mkdir()

    with meanwhile(SET_ASIDE, edit):
        done = anywhere.run("free", "--yes", copy)
    [hidden] = left(copy)
    assert done.returncode == REFUSED
    assert str(hidden) in done.stderr
    [reported] = anywhere.json("recover")
    assert str(hidden) in reported["action"]
    assert (hidden / "a" / "1").read_text() == "edited"
    copy.rmdir()
    [back] = anywhere.json("recover")
    assert "stays" in back["action"]
    assert left(copy) == []
    assert (copy / "a" / "1").read_text() == "edited"
    assert anywhere.json("recover") == []


# Copies that cannot be removed


def unmount(copy: Path, name: str) -> None:
    """Unmount it wherever the copy is now, so that pytest can remove the folder."""
    done = [subprocess.run(["umount", folder / name], capture_output=True) for folder in (copy, *left(copy))]
    assert 0 in [each.returncode for each in done], done


@pytest.fixture
def make_mutable(copy: Path) -> Iterator[Callable[[], None]]:
    """Makes a file in the copy immutable; yields a function that reverts this."""
    path = copy / "b" / "c" / "2"
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED: this file system has no immutable files")

    def revert() -> None:
        for folder in (copy, *left(copy)):
            if (folder / "b" / "c" / "2").exists():
                subprocess.run(["chattr", "-i", folder / "b" / "c" / "2"], check=True)

    yield revert
    revert()


@AS_ROOT
def test_a_removal_stopped_by_an_immutable_file_is_resumed_later(
    anywhere: Program, copy: Path, finish: Callable[[], Done], make_mutable: Callable[[], None]
) -> None:
    done = anywhere.run("free", "--yes", copy)
    assert done.returncode == FAILED
    [hidden] = left(copy)
    assert f"{hidden}/b/c/2: Operation not permitted" in done.stderr
    assert f"mgmt free {copy}" in done.stderr
    again = finish()  # the file is still immutable: the error is the same
    assert f"{hidden}/b/c/2" in again.stdout + again.stderr
    assert (hidden / "b" / "c" / "2").exists()
    make_mutable()
    assert finish().returncode == OK
    assert_removed(anywhere, copy)


@pytest.mark.parametrize("moment", [SET_ASIDE, REMOVING])
def test_a_removal_is_not_finished_if_the_copy_may_be_the_last(
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
@pytest.mark.usefixtures("make_mutable")
def test_a_half_removed_copy_is_listed_as_failed(anywhere: Program, copy: Path) -> None:
    assert anywhere.run("free", "--yes", copy).returncode == FAILED
    [hidden] = left(copy)
    [shown] = anywhere.json("ls", "--location", "completed")
    assert shown["status"] == "failed"
    assert str(hidden) in shown["error_message"]
    report = anywhere.json("status", copy)
    assert [each["status"] for each in report["copies"] if each["location"] == "completed"] == ["failed"]
    assert anywhere.run("delete", "--yes", "shoot").returncode == REFUSED  # it proves nothing


@AS_ROOT
def test_a_new_copy_under_the_name_of_a_pending_removal_is_kept(
    anywhere: Program, copy: Path, make_mutable: Callable[[], None]
) -> None:
    assert anywhere.run("free", "--yes", copy).returncode == FAILED
    [hidden] = left(copy)
    (anywhere.work / "shoot").mkdir()
    (anywhere.work / "shoot" / "other").write_text("other")
    anywhere.ok("upload", "--on-conflict", "rename", "shoot")
    assert (copy / "other").exists()
    make_mutable()
    anywhere.ok("recover")
    assert not hidden.exists()
    assert (copy / "other").read_text() == "other"
    assert [each["status"] for each in anywhere.json("ls", "--location", "completed")] == ["completed"]
    anywhere.ok("free", "--yes", copy)
    assert os.listdir(copy.parent) == []
    anywhere.ok("verify", "--all")


@AS_ROOT
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_copy_with_a_mount_point_is_refused_as_a_whole(
    anywhere: Program, copy: Path, tmp_path: Path, kind: str
) -> None:
    precious = tmp_path / "precious"
    shutil.copytree(copy / "b" / "c", precious)
    options = ["-t", "tmpfs", "tmpfs"] if kind == "tmpfs" else ["--bind", precious]
    if subprocess.run(["mount", *options, copy / "b" / "c"], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED: mounting is not permitted")
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
    assert_removed(anywhere, copy)


@AS_ROOT
def test_a_removal_stopped_by_a_new_mount_point_is_resumed_later(on_directory: Program, tmp_path: Path) -> None:
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


# Read-only folders of an ordinary user


@pytest.fixture
def unprivileged(on_directory: Program) -> Iterator[Program]:
    """mgmt for an unprivileged user; under root, in a folder that this user can reach."""
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
    """Import all modules as root, because the unprivileged user may be unable to read them."""
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
def test_a_user_can_free_his_own_read_only_folders(unprivileged: Program, mode: int) -> None:
    shoot = unprivileged.work / "shoot"
    (shoot / "a" / "b").mkdir(parents=True)
    (shoot / "a" / "b" / "1").write_text("one")
    readable = mode if mode & 0o500 == 0o500 else 0o555
    for path in (shoot / "a" / "b" / "1", shoot / "a" / "b", shoot / "a"):
        path.chmod(readable)
    assert as_nobody(unprivileged, "upload", "shoot").returncode == OK
    copy = unprivileged.work / "completed" / "shoot"
    done = as_nobody(unprivileged, "free", "--yes", copy)
    assert done.returncode == OK, done
    assert os.listdir(copy.parent) == []


@pytest.mark.parametrize(("name", "mode"), [("shoot", 0o555), (".", 0o555), (".", 0o333)])
def test_upload_refuses_a_folder_that_cannot_be_moved_before_sending_anything(
    unprivileged: Program, name: str, mode: int
) -> None:
    """The kernel cannot move a read-only folder, nor anything out of one, and can sync only readable folders."""
    shoot = unprivileged.work / "in" / "shoot"
    shoot.mkdir(parents=True)
    (shoot / "1").write_text("one")
    (shoot.parent / "completed").mkdir()
    (shoot.parent / name).chmod(mode)
    done = as_nobody(unprivileged, "upload", "in/shoot")
    assert done.returncode == REFUSED, done
    assert f"chmod u+rwx {shoot.parent / name}" in done.stderr
    assert shoot.exists()
    assert unprivileged.json("ls", "--live") == []
    (shoot.parent / name).chmod(0o755)
    if (name, mode) == ("shoot", 0o555):
        shoot.chmod(mode)
        assert as_nobody(unprivileged, "upload", "--keep", "in/shoot").returncode == OK
        return
    assert as_nobody(unprivileged, "upload", "in/shoot").returncode == OK
    assert as_nobody(unprivileged, "free", "--yes", "in/completed/shoot").returncode == OK
    assert as_nobody(unprivileged, "free", "--yes", unprivileged.work / "nothing").returncode == NOT_FOUND


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root, to change the owner of a folder")
@pytest.mark.parametrize("command", ["free", "recover"])
def test_a_removal_stopped_by_another_users_folder_is_resumed_later(unprivileged: Program, command: str) -> None:
    shoot = unprivileged.work / "shoot"
    (shoot / "a").mkdir(parents=True)
    (shoot / "a" / "1").write_text("one")
    (shoot / "b").write_text("b")
    assert as_nobody(unprivileged, "upload", "shoot").returncode == OK
    copy = unprivileged.work / "completed" / "shoot"

    done = as_nobody_with_a_folder_of_root(unprivileged, copy, "free", "--yes", copy)
    [hidden] = left(copy)
    assert done.returncode == FAILED
    assert f"{hidden}/a/1: Permission denied" in done.stderr
    assert f"mgmt free {copy}" in done.stderr
    assert (hidden / "a" / "1").exists()
    retry = ["recover"] if command == "recover" else ["free", "--yes", str(copy)]
    assert as_nobody(unprivileged, *retry).returncode == OK  # all of it is nobody's again
    assert os.listdir(copy.parent) == []


def as_nobody_with_a_folder_of_root(program: Program, copy: Path, *words: str | Path) -> Done:
    """Run a command as nobody while a folder of the copy belongs to root."""
    for folder, folders, files in os.walk(program.home):
        for path in (Path(folder), *(Path(folder, name) for name in folders + files)):
            os.lchown(path, NOBODY, NOBODY)
    os.chown(copy / "a", 0, 0)

    def run() -> tuple[int, str, str]:
        done = program.run(*words)
        return int(done.returncode), done.stdout, done.stderr

    return Done(*as_user(NOBODY, run))
