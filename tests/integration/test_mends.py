"""What `verify` finds can be mended: the command that it names works, and the audit is green again."""

import json
import os
import shlex
import shutil
import time
from pathlib import Path

import pytest

from mgmt.errors import ExitStatus
from mgmt.services.steps.index_keys import SUFFIX
from tests.moments import killed
from tests.program import Program

AN_HOUR = 3601


def stored_in(program: Program) -> Path:
    return Path(program.store.removeprefix("file://"))


def play(program: Program, commands: str) -> None:
    """Run the commands that a message names."""
    for command in commands.split(" && "):
        words = shlex.split(command)
        assert words.pop(0) == "mgmt"
        program.ok(*words, *(["--yes"] if "delete" in words else []))


@pytest.fixture
def archived(on_directory: Program) -> Path:
    """The copy in completed/ of an archived folder."""
    folder = on_directory.work / "my folder"
    folder.mkdir()
    (folder / "notes").write_text("precious")
    on_directory.ok("upload", str(folder))
    return on_directory.work / "completed" / "my folder"


def damage(program: Program, how: str) -> None:
    archive = stored_in(program) / "my folder.tar.gz"
    if how == "missing":
        archive.unlink()
    elif how == "index":
        next(path for path in stored_in(program).iterdir() if path.name.endswith(SUFFIX)).unlink()
    else:
        data = archive.read_bytes()
        archive.chmod(0o600)
        archive.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])


@pytest.mark.parametrize("how", ["missing", "corrupt", "index"])
def test_the_named_commands_replace_a_lost_or_damaged_archive(on_directory: Program, archived: Path, how: str) -> None:
    before = on_directory.json("status", "my folder")
    damage(on_directory, how)
    done = on_directory.run("-o", "json", "verify", "my folder")
    assert done.returncode == ExitStatus.INTEGRITY
    play(on_directory, json.loads(done.stderr)["error"]["next"])
    on_directory.ok("verify", "--all")
    assert on_directory.json("status", "my folder")["file"]["archive_id"] != before["file"]["archive_id"]
    on_directory.ok("free", str(archived), "--yes")
    on_directory.ok("download", "my folder", "--to", "back")
    assert (on_directory.work / "back" / "my folder" / "notes").read_text() == "precious"


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_index_of_an_archive_that_somebody_removed_goes_when_its_key_is_used_again(
    on_directory: Program, archived: Path, is_killed: bool
) -> None:
    damage(on_directory, "missing")
    (index,) = [path for path in stored_in(on_directory).iterdir() if path.name.endswith(SUFFIX)]
    upload = ("upload", "--keep", "--key", "my folder.tar.gz", str(archived))
    if is_killed:
        killed(on_directory, *upload, at="mgmt.services.upload.remove_replaced_index")
        on_directory.ok("recover")
        assert index.exists() == (on_directory.run("verify", "--all").returncode != 0)
        would = on_directory.json("recover", "--dry-run")
        assert [each["target"] for each in would] == [f"{on_directory.store}/{index.name}"] * index.exists()
        on_directory.ok("recover")
    else:
        on_directory.ok(*upload)
    assert not index.exists()
    assert on_directory.json("recover") == []
    on_directory.ok("verify", "--all")


def test_a_stray_index_beside_an_archive_is_removed_by_rebuild_and_recover(
    on_directory: Program, archived: Path
) -> None:
    """The catalog that knew the upload is lost: the index belongs to no archive, and to no record."""
    damage(on_directory, "missing")
    (stray,) = [path for path in stored_in(on_directory).iterdir() if path.name.endswith(SUFFIX)]
    on_directory.records.remove()
    on_directory.ok("upload", "--keep", "--key", "my folder.tar.gz", str(archived))
    long_ago = time.time() - AN_HOUR
    os.utime(stray, (long_ago, long_ago))
    done = on_directory.run("verify", "--all")
    assert done.returncode == ExitStatus.INTEGRITY
    assert "mgmt recover" in done.stderr
    on_directory.ok("db", "rebuild")
    on_directory.ok("recover")
    assert not stray.exists()
    on_directory.ok("verify", "--all")


def test_the_conflict_with_an_incomplete_archive_says_how_to_replace_it(on_directory: Program) -> None:
    folder = on_directory.work / "holiday"
    folder.mkdir()
    (folder / "notes").write_text("precious")
    os.mkfifo(folder / "pipe")
    assert on_directory.run("upload", "holiday").returncode == ExitStatus.PARTIAL
    (folder / "pipe").unlink()
    (folder / "more").write_text("found again")
    done = on_directory.run("-o", "json", "upload", "holiday")
    assert done.returncode == ExitStatus.CONFLICT
    error = json.loads(done.stderr)["error"]
    assert "incomplete" in error["message"]
    play(on_directory, error["next"])
    (archive,) = [path for path in stored_in(on_directory).iterdir() if path.name.endswith(".tar.gz")]
    assert archive.name == "holiday-2.tar.gz"
    on_directory.ok("verify", "--all")


def test_the_loss_of_an_archive_without_another_copy_can_be_recorded(on_directory: Program, archived: Path) -> None:
    damage(on_directory, "missing")
    shutil.rmtree(archived)
    refused = on_directory.run("delete", "my folder.tar.gz", "--yes")
    assert refused.returncode == ExitStatus.REFUSED
    assert "is missing from the store" in refused.stderr
    done = on_directory.run("-o", "json", "verify", "my folder")
    assert done.returncode == ExitStatus.INTEGRITY
    play(on_directory, json.loads(done.stderr)["error"]["next"].partition("\n")[0])
    on_directory.ok("verify", "--all")


def test_an_index_is_replaced_although_no_other_copy_is_recorded(on_directory: Program, archived: Path) -> None:
    damage(on_directory, "index")
    shutil.rmtree(archived)
    done = on_directory.run("-o", "json", "verify", "my folder")
    assert "mgmt download" in json.loads(done.stderr)["error"]["next"]
    on_directory.ok("download", "my folder", "--to", "back")
    done = on_directory.run("-o", "json", "verify", "my folder")
    play(on_directory, json.loads(done.stderr)["error"]["next"])
    on_directory.ok("verify", "--all")
