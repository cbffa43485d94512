"""After `undo`, the disk, the store and what the catalog lists are as before the operation; else it is refused."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.moments import killed
from tests.program import Program
from tests.trees import describe

OK, PARTIAL, NOT_FOUND, REFUSED = 0, 3, 4, 7


@pytest.fixture
def shoot(anywhere: Program) -> Program:
    """A file and a folder to archive."""
    (anywhere.work / "clip").write_bytes(b"a take of the third day\n" * 30)
    (anywhere.work / "shoot" / "day 1").mkdir(parents=True)
    (anywhere.work / "shoot" / "day 1" / "take").write_text("one")
    (anywhere.work / "shoot" / "notes").write_text("two")
    (anywhere.work / "back").mkdir()
    return anywhere


def last(program: Program) -> str:
    """The id of the last operation that no other one contains."""
    found = program.json("log", "--limit", "20")
    return str(next(each["operation_id"] for each in found if each["parent_id"] is None))


def state(program: Program) -> Any:
    """The files of the user, the objects of the store, and the archives and copies that the catalog lists."""
    files = describe(program.work)
    for folder in (".", "back", "kept", "completed"):  # those that files came to and left have new times, or are new
        files.pop(folder, None)
    stored = sorted((each["path"], each["size"]) for each in program.json("ls", "--live"))
    listed = [
        (each["location"], each["path"], each["status"], each["digest"], each["size"], sorted(each["tags"].items()))
        for each in program.json("ls", "--location", "s3") + program.json("ls", "--location", "completed")
    ]
    return files, stored, sorted(listed)


def check(program: Program) -> None:
    program.ok("verify", "--all")
    program.ok("audit", "verify")
    assert program.json("log", "--status", "running") == []


@dataclass(frozen=True)
class Case:
    """A command, and the lines before it."""

    command: str
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.command


CASES = [
    Case("upload clip"),
    Case("upload shoot"),
    Case("upload --keep clip"),
    Case("upload clip --key elsewhere/k --tag a=b"),
    Case("upload clip --keep-archive kept"),
    Case("upload shoot --xattrs --owners"),
    Case("upload clip shoot"),
    Case("delete clip --yes", ("upload clip --tag a=b --tag c=d",)),
    Case("delete shoot --yes", ("upload shoot --xattrs --owners --keep",)),
    Case("delete other/k --yes", ("upload clip --key other/k",)),
    Case("delete clip shoot --yes", ("upload clip shoot",)),
    Case("free clip --yes", ("upload clip",)),
    Case("free shoot --yes", ("upload shoot --xattrs --owners",)),
    Case("free --all --yes", ("upload clip shoot",)),
    Case("download clip --to back", ("upload clip",)),
    Case("download shoot --to back", ("upload shoot",)),
    Case("download shoot --to back --member shoot/notes", ("upload shoot",)),
    Case("download shoot --to back --member shoot/notes --member 'shoot/day 1'", ("upload shoot",)),
    Case("download shoot --archive --to back", ("upload shoot",)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_undo_restores_the_state_before(shoot: Program, case: Case) -> None:
    (shoot.work / "kept").mkdir()
    for line in case.before:
        shoot.ok(*shlex.split(line))
    before = state(shoot)
    shoot.ok(*shlex.split(case.command))
    operation, after = last(shoot), state(shoot)
    planned = shoot.json("undo", operation, "-n")
    assert planned
    assert state(shoot) == after, "a dry run changes nothing"
    assert shoot.run("undo", operation).returncode == REFUSED, "there is no terminal to confirm on"
    assert state(shoot) == after
    shoot.ok("undo", operation, "--yes")
    assert state(shoot) == before
    check(shoot)


@pytest.mark.parametrize("case", CASES[:1] + CASES[7:8] + CASES[11:12] + CASES[14:15], ids=str)
def test_an_undo_can_be_repeated(shoot: Program, case: Case) -> None:
    for line in case.before:
        shoot.ok(*shlex.split(line))
    shoot.ok(*shlex.split(case.command))
    operation = last(shoot)
    (first,) = shoot.json("undo", operation, "--yes")
    then = state(shoot)
    assert (first["operation_type"], first["undo_of"]) == ("undo", operation)
    done = shoot.run("undo", operation, "--yes")
    assert done.returncode == OK
    assert f"undone already, by undo {first['operation_id']}" in done.stderr
    assert shoot.json("undo", operation, "-n") == []
    assert state(shoot) == then


def test_what_other_verbs_do_for_an_undo_are_its_children(shoot: Program) -> None:
    shoot.ok("upload", "clip")
    operation = last(shoot)
    (undo,) = shoot.json("undo", operation, "--yes")
    found = shoot.json("log", "--limit", "5")
    (child,) = [each for each in found if each["parent_id"] == undo["operation_id"]]
    assert (child["operation_type"], child["status"]) == ("delete", "success")


def test_an_original_that_was_freed_is_downloaded(shoot: Program) -> None:
    before = state(shoot)
    shoot.ok("upload", "shoot", "--key", "other-name")
    operation = last(shoot)
    shoot.ok("free", "shoot", "--yes")
    shoot.ok("undo", operation, "--yes")
    assert state(shoot) == before
    check(shoot)


def test_a_copy_that_was_brought_back_can_be_freed_again(shoot: Program) -> None:
    shoot.ok("upload", "shoot", "--xattrs", "--owners")
    shoot.ok("free", "shoot", "--yes")
    shoot.ok("undo", last(shoot), "--yes")
    shoot.ok("free", "shoot", "--yes")
    assert os.listdir(shoot.work / "completed") == []
    check(shoot)


def test_an_archive_that_another_upload_relies_on_stays(shoot: Program) -> None:
    shoot.ok("upload", "clip")
    operation = last(shoot)
    (shoot.work / "clip").write_bytes((shoot.work / "completed" / "clip").read_bytes())
    os.utime(shoot.work / "clip", ns=(0, (shoot.work / "completed" / "clip").stat().st_mtime_ns))
    shoot.ok("upload", "clip")
    other = last(shoot)
    (undo,) = shoot.json("undo", operation, "--yes")
    assert f"upload {other} of" in undo["metadata"]["parts"][1]["why"]
    assert [each["path"] for each in shoot.json("ls", "--location", "s3")] == ["clip.tar.gz"]
    refused(shoot, other, "nothing is ever overwritten")
    os.rename(shoot.work / "clip", shoot.work / "mine")
    shoot.ok("undo", other, "--yes")
    assert shoot.json("ls", "--location", "s3") == []
    check(shoot)


def refused(program: Program, operation: str, why: str) -> None:
    before = state(program)
    for words in (("-n",), ("--yes",)):
        done = program.run("undo", operation, *words)
        assert (done.returncode, why in done.stderr) == (REFUSED, True), done
    assert state(program) == before
    assert program.json("log", "--status", "running") == []


def edited_copy(program: Program) -> None:
    (program.work / "completed" / "clip").write_text("edited")


def taken(program: Program) -> None:
    (program.work / "clip").write_text("another")


def without_copies(program: Program) -> None:
    (program.work / "completed" / "clip").unlink()
    program.ok("delete", "clip", "--last-copy", "--yes")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (edited_copy, "is not what was archived"),
        (taken, "nothing is ever overwritten"),
        (without_copies, "no archive of it is left"),
    ],
)
def test_an_upload_is_not_undone_in_part(shoot: Program, change: Callable[[Program], None], why: str) -> None:
    shoot.ok("upload", "clip")
    operation = last(shoot)
    change(shoot)
    refused(shoot, operation, why)


def test_an_upload_whose_original_was_edited_keeps_its_archive(shoot: Program) -> None:
    shoot.ok("upload", "clip", "--keep", "--keep-archive", "kept")
    (shoot.work / "clip").write_text("edited")
    refused(shoot, last(shoot), "last proven copy")


def test_a_restored_file_that_was_edited_stays(shoot: Program) -> None:
    shoot.ok("upload", "clip")
    shoot.ok("download", "clip", "--to", "back")
    operation = last(shoot)
    (shoot.work / "back" / "clip").write_text("edited")
    before = state(shoot)
    done = shoot.run("undo", operation, "--yes")
    assert (done.returncode, "is not what was archived" in done.stderr) == (REFUSED, True), done
    assert state(shoot) == before


@pytest.mark.parametrize("words", [(), ("--member", "shoot/notes"), ("--archive",)], ids=str)
def test_a_restored_file_that_may_be_the_last_copy_stays(shoot: Program, words: tuple[str, ...]) -> None:
    shoot.ok("upload", "shoot")
    shoot.ok("download", "shoot", "--to", "back", *words)
    operation = last(shoot)
    shoot.ok("delete", "shoot", "--last-copy", "--yes")
    refused(shoot, operation, "last copy")


def test_a_freed_copy_is_not_brought_back_over_another_file(shoot: Program) -> None:
    shoot.ok("upload", "clip")
    shoot.ok("free", "clip", "--yes")
    operation = last(shoot)
    (shoot.work / "completed" / "clip").write_text("another")
    refused(shoot, operation, "nothing is ever overwritten")


def test_a_last_copy_that_was_deleted_is_gone(shoot: Program) -> None:
    shoot.ok("upload", "clip")
    shoot.ok("free", "clip", "--yes")
    shoot.ok("delete", "clip", "--last-copy", "--yes")
    refused(shoot, last(shoot), "no copy of what it held is left")


def test_a_key_that_is_taken_is_not_uploaded_to(shoot: Program) -> None:
    shoot.ok("upload", "clip", "--keep")
    shoot.ok("delete", "clip", "--yes")
    operation = last(shoot)
    shoot.ok("upload", "shoot", "--key", "clip.tar.gz")
    refused(shoot, operation, "holds another archive")


def test_what_changed_nothing_has_nothing_to_undo(shoot: Program) -> None:
    shoot.ok("upload", "clip")
    operation = last(shoot)
    for words in (("verify", "clip"), ("search", "clip"), ("status", "clip"), ("recover",), ("db", "rebuild")):
        shoot.ok(*words)
        refused(shoot, last(shoot), "cannot be undone")
    shoot.ok("undo", operation, "--yes")
    done = shoot.run("undo", last(shoot), "--yes")
    assert (done.returncode, f"mgmt replay {operation}" in done.stderr) == (REFUSED, True)
    assert shoot.run("undo", "no-such-operation", "--yes").returncode == NOT_FOUND


def test_what_failed_has_nothing_to_undo(shoot: Program) -> None:
    assert shoot.run("upload", "missing").returncode == NOT_FOUND
    done = shoot.run("undo", last(shoot), "--yes")
    assert (done.returncode, "mgmt retry" in done.stderr) == (REFUSED, True)


def test_a_setting_is_set_back(shoot: Program) -> None:
    shoot.ok("config", "set", "level", "balanced")
    first = last(shoot)
    shoot.ok("config", "set", "level", "fast")
    second = last(shoot)
    assert shoot.run("undo", first, "--yes").returncode == REFUSED, "it was changed since"
    shoot.ok("undo", second, "--yes")
    assert shoot.json("config", "get", "level")["value"] == "balanced"
    shoot.ok("undo", first, "--yes")
    assert "file" not in shoot.json("config", "get", "level")["origin"]
    shoot.ok("config", "set", "part_size", "8M")
    shoot.ok("config", "unset", "part_size")
    shoot.ok("undo", last(shoot), "--yes")
    assert shoot.json("config", "get", "part_size")["value"] == 8 << 20


def test_a_password_is_not_set_back(shoot: Program) -> None:
    shoot.ok("config", "set", "endpoint_url", "http://me:secret@127.0.0.1:1")
    shoot.ok("config", "unset", "endpoint_url")
    done = shoot.run("undo", last(shoot), "--yes")
    assert (done.returncode, "a password is not recorded" in done.stderr) == (REFUSED, True)


def test_an_ignored_object_is_reported_again(on_directory: Program) -> None:
    (Path(on_directory.store.removeprefix("file://")) / "README").write_text("theirs")
    (on_directory.work / "clip").write_text("mine")
    on_directory.ok("upload", "clip")
    on_directory.ok("ignore", "README")
    first = last(on_directory)
    on_directory.ok("undo", first, "--yes")
    assert on_directory.json("ignore") == []
    on_directory.ok("ignore", "README")
    on_directory.ok("ignore", "--undo", "README")
    on_directory.ok("undo", last(on_directory), "--yes")
    assert len(on_directory.json("ignore")) == 1


def test_of_a_batch_what_can_be_undone_is(shoot: Program) -> None:
    shoot.ok("upload", "clip", "shoot")
    operation = last(shoot)
    edited_copy(shoot)
    done = shoot.run("undo", operation, "--yes")
    assert (done.returncode, "1 of 2 operations were not undone" in done.stderr) == (PARTIAL, True), done
    assert (shoot.work / "shoot").exists()
    assert (shoot.work / "completed" / "clip").read_text() == "edited"


def test_nothing_is_moved_back_if_the_store_cannot_be_asked(on_directory: Program) -> None:
    (on_directory.work / "clip").write_text("mine")
    on_directory.ok("upload", "clip")
    operation, store = last(on_directory), Path(on_directory.store.removeprefix("file://"))
    store.rename(store.with_name("away"))
    assert on_directory.run("undo", operation, "--yes").returncode not in (OK, PARTIAL)
    assert not (on_directory.work / "clip").exists()
    store.with_name("away").rename(store)
    on_directory.ok("undo", operation, "--yes")
    assert (on_directory.work / "clip").read_text() == "mine"


def test_an_archive_that_was_replaced_is_not_deleted(on_directory: Program) -> None:
    for name in ("clip", "other"):
        (on_directory.work / name).write_text(name)
    on_directory.ok("upload", "clip")
    operation, store = last(on_directory), Path(on_directory.store.removeprefix("file://"))
    on_directory.ok("upload", "other")
    (store / "clip.tar.gz").write_bytes((store / "other.tar.gz").read_bytes())
    before = describe(on_directory.work)
    assert on_directory.run("undo", operation, "--yes").returncode == REFUSED
    assert describe(on_directory.work) == before


def test_another_host_is_named(on_directory: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    (on_directory.work / "clip").write_text("mine")
    on_directory.ok("upload", "clip")
    operation = last(on_directory)
    monkeypatch.setattr("socket.gethostname", lambda: "nas")
    for words in (("undo", operation, "--yes"), ("replay", operation)):
        done = on_directory.run(*words)
        assert (done.returncode, "and this is nas" in done.stderr) == (REFUSED, True), done


def test_recover_records_what_an_interrupted_undo_has_moved(on_directory: Program) -> None:
    (on_directory.work / "clip").write_text("mine")
    on_directory.ok("upload", "clip")
    operation = last(on_directory)
    killed(on_directory, "undo", operation, "--yes", at="mgmt.services.undo.uploads.note_returned")
    assert (on_directory.work / "clip").exists()
    (settled,) = on_directory.json("recover")
    assert f"mgmt undo {operation} finishes it" in settled["action"]
    assert on_directory.json("ls", "--location", "completed") == []
    on_directory.ok("verify", "--all")
    on_directory.ok("undo", operation, "--yes")
    assert on_directory.json("ls", "--location", "s3") == []
    check(on_directory)
