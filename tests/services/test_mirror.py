"""The mirror: records as JSON beside the completed files, written after every change."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mgmt.services.steps.local_files import host
from mgmt.services.steps.mirror_files import PARTIAL
from tests.program import Program

NAMES = [".downloads.json", ".files.json", ".operations.json", ".uploads.json"]


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return replace(on_directory, environment={"MGMT_MIRROR": "true"})


def write(mgmt: Program, name: str, content: str = "hello") -> Path:
    path = mgmt.work / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def completed(mgmt: Program) -> Path:
    return mgmt.work / "completed"


def mirrors(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("."))


def mirror(folder: Path, name: str) -> list[dict[str, Any]]:
    content = json.loads((folder / f".{name}.json").read_text("utf-8"))
    assert (content["folder"], content["host"]) == (str(folder), host())
    records: list[dict[str, Any]] = content["records"]
    return records


def types(folder: Path) -> list[str]:
    return [each["operation_type"] for each in mirror(folder, "operations")]


def test_the_mirror_is_off_by_default(on_directory: Program) -> None:
    on_directory.ok("upload", write(on_directory, "notes"))
    assert mirrors(completed(on_directory)) == []
    code = "import sys; from mgmt import cli; cli.run(['ls']); assert 'mgmt.services.mirror' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=on_directory.env(), check=True, stdout=subprocess.DEVNULL)


def test_the_mirror_lists_the_operations_on_the_files_of_its_folder(mgmt: Program) -> None:
    folder = completed(mgmt)
    mgmt.ok("upload", write(mgmt, "notes"), write(mgmt, "trip/photo"))
    assert mirrors(folder) == mirrors(completed(mgmt).parent / "trip" / "completed") == NAMES
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in NAMES} == {0o600}
    mgmt.ok("download", "notes", "--to", mgmt.home / "back")
    mgmt.ok("verify", "--all")
    mgmt.ok("free", "notes", "--yes")
    mgmt.ok("delete", "notes", "--yes")
    assert types(folder) == ["upload", "download", "verify", "free", "delete"]
    assert types(mgmt.work / "trip" / "completed") == ["upload", "verify"]
    logged = {each["operation_id"]: each for each in mgmt.json("log")}
    for kind in ("uploads", "downloads"):
        (record,) = mirror(folder, kind)
        assert record.items() <= logged[record["operation_id"]].items()
    for record in mirror(folder, "operations"):
        assert record.items() <= logged[record["operation_id"]].items()
    files = {each["location"]: each for each in mirror(folder, "files")}
    copy, archive = files["completed"], files["s3"]
    assert (copy["path"], copy["status"]) == (str(folder / "notes"), "deleted")
    assert [archive] == mgmt.json("ls", "--location", "s3", "--status", "deleted")


def test_the_mirror_is_not_rewritten_without_a_change(mgmt: Program) -> None:
    mgmt.ok("upload", write(mgmt, "notes"))
    before = {name: (completed(mgmt) / name).stat() for name in NAMES}
    for command in ("search notes", "ls", "status notes", "log", "db check", "recover -n"):
        mgmt.run(*command.split())
    mgmt.ok("upload", write(mgmt, "other/notes-2"))
    assert {name: (completed(mgmt) / name).stat() for name in NAMES} == before


def test_the_mirror_lists_partial_and_failed_commands(mgmt: Program) -> None:
    notes, other = write(mgmt, "notes"), write(mgmt, "other")
    assert mgmt.run("upload", notes, other, mgmt.work / "missing").returncode == 3
    assert [each["target_name"] for each in mirror(completed(mgmt), "uploads")] == ["notes", "other"]
    (Path(mgmt.store.removeprefix("file://")) / "notes.tar.gz").unlink()
    assert mgmt.run("verify", "notes").returncode == 8
    assert types(completed(mgmt))[:2] == ["upload", "upload"]


@pytest.mark.parametrize("name", ["Étude \u202egpj", "caf\udce9", "a\nb\x1b\x9b", "𝄞\U000e0001"])
def test_names_in_the_mirror_are_exact_and_safe_at_a_terminal(mgmt: Program, name: str) -> None:
    mgmt.ok("upload", write(mgmt, name))
    text = (completed(mgmt) / ".files.json").read_text("utf-8")
    assert all(each.isprintable() for each in text.replace("\n", ""))
    assert {each["name"] for each in mirror(completed(mgmt), "files")} >= {name}
    assert ("É" in name) == ("É" in text)


@pytest.mark.parametrize("name", [".uploads.json", ".files.json"])
def test_a_users_file_with_the_name_of_a_mirror_is_kept(mgmt: Program, name: str) -> None:
    mgmt.ok("upload", write(mgmt, name, "mine"))
    assert (completed(mgmt) / name).read_text() == "mine"
    assert mirrors(completed(mgmt)) == NAMES
    assert types(completed(mgmt)) == ["upload"]
    done = mgmt.run("upload", write(mgmt, "notes"))
    assert done.returncode == 0
    assert f"note: the mirror in {completed(mgmt)} is not up to date" in done.stderr
    assert "is not a mirror file; left unchanged" in done.stderr
    assert (completed(mgmt) / name).read_text() == "mine"
    assert mirrors(completed(mgmt)) == NAMES
    assert types(completed(mgmt)) == ["upload", "upload"]


def test_an_unwritable_folder_fails_no_command(mgmt: Program) -> None:
    mgmt.ok("upload", write(mgmt, "notes"))
    for name in NAMES:
        (completed(mgmt) / name).unlink()
    (completed(mgmt) / PARTIAL).mkdir()
    done = mgmt.run("verify", "notes")
    assert (done.returncode, mirrors(completed(mgmt))) == (0, [PARTIAL])
    assert [line for line in done.stderr.splitlines() if "not up to date: Is a directory" in line]
    assert mgmt.run("-q", "verify", "notes").stderr == ""
    (completed(mgmt) / PARTIAL).rmdir()
    (completed(mgmt) / PARTIAL).symlink_to(mgmt.home / "victim")
    assert mgmt.run("verify", "notes").returncode == 0
    assert not (mgmt.home / "victim").exists()
    (completed(mgmt) / PARTIAL).unlink()
    completed(mgmt).rename(mgmt.work / "away")
    done = mgmt.run("verify", "notes")
    assert (done.returncode, "mirror" in done.stderr) == (0, False)


def test_a_partial_file_of_a_killed_process_is_replaced(mgmt: Program) -> None:
    mgmt.ok("upload", write(mgmt, "notes"))
    (completed(mgmt) / PARTIAL).write_text("incomplete")
    mgmt.ok("verify", "notes")
    assert mirrors(completed(mgmt)) == NAMES
    assert types(completed(mgmt)) == ["upload", "verify"]


def test_two_processes_write_the_mirror_in_turn(mgmt: Program) -> None:
    mgmt.ok("upload", write(mgmt, "notes"))
    descriptor = os.open(completed(mgmt), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with mgmt.start("verify", "notes") as other:
        assert other.stdout is not None
        other.stdout.readline()  # it has verified, and printed its result
        assert types(completed(mgmt)) == ["upload"]
        os.close(descriptor)
        assert other.wait(600) == 0
    assert types(completed(mgmt)) == ["upload", "verify"]


def test_upload_refuses_a_mirror_as_a_target(mgmt: Program) -> None:
    mgmt.ok("upload", write(mgmt, "notes"))
    done = mgmt.run("upload", completed(mgmt) / ".uploads.json")
    assert (done.returncode, "is a mirror of the catalog" in done.stderr) == (2, True)
    listed = [completed(mgmt) / ".files.json", write(mgmt, "photo")]
    assert mgmt.run("upload", *listed).returncode == 3
    mgmt.ok("upload", "--all", mgmt.work)
    (completed(mgmt) / PARTIAL).write_text("")
    mgmt.ok("upload", "--all", completed(mgmt))
    uploads = [each for each in mgmt.json("log", "--type", "upload") if each["status"] == "success"]
    assert sorted(each["target_path"].removeprefix(str(mgmt.work)) for each in uploads) == [
        "/completed/notes",
        "/completed/photo",
        "/notes",
        "/photo",
    ]
    assert mirrors(completed(mgmt)) == NAMES


def test_a_mirror_inside_an_archived_folder_is_restored_with_it(mgmt: Program) -> None:
    mgmt.ok("upload", write(mgmt, "trip/photo"))
    mgmt.ok("upload", mgmt.work / "trip")
    moved = completed(mgmt) / "trip" / "completed"
    assert mirrors(moved) == NAMES
    mgmt.ok("verify", "--all", "--read-back")
    mgmt.ok("free", "trip", "--yes")
    mgmt.ok("download", "trip", "--to", mgmt.home / "back")
    assert mirrors(mgmt.home / "back" / "trip" / "completed") == NAMES
