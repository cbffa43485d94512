"""A file of mgmt is replaced as a whole, and what a killed process has left is removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mgmt.errors import RefusedError
from mgmt.services.steps import own_files
from mgmt.services.steps.own_files import PARTIAL, Kind, replace_own, write_own

KIND = Kind("ours", lambda there: there.startswith(b"ours"))

KILLED = """
import os, signal, sys
from mgmt.services.steps import own_files
own_files._publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
own_files.replace_own(sys.argv[1], b"ours", own_files.Kind("ours", bool))
"""


def partials(folder: Path) -> list[str]:
    return [each for each in os.listdir(folder) if each.endswith(PARTIAL)]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file")], check=False)
    assert len(partials(tmp_path)) == 1
    replace_own(str(tmp_path / "file"), b"ours", KIND)
    assert os.listdir(tmp_path) == ["file"]


def test_two_at_once_leave_each_other_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish, file = own_files._publish, str(tmp_path / "file")

    def another_first(*arguments: str) -> None:
        monkeypatch.setattr(own_files, "_publish", publish)
        replace_own(file, b"ours 2", KIND)
        publish(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(own_files, "_publish", another_first)
    replace_own(file, b"ours 1", KIND)
    assert Path(file).read_bytes() == b"ours 1"
    assert os.listdir(tmp_path) == ["file"]


def test_a_partial_file_that_was_taken_for_abandoned_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = own_files._lock, list[str]()

    def late(descriptor: int) -> bool | None:
        if not swept:
            swept.extend(partials(tmp_path))
            (tmp_path / swept[0]).unlink()
        return lock(descriptor)

    monkeypatch.setattr(own_files, "_lock", late)
    replace_own(str(tmp_path / "file"), b"ours", KIND)
    assert swept
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f".file-0{PARTIAL}").touch()
    monkeypatch.setattr(own_files, "_lock", lambda _: None)
    replace_own(str(tmp_path / "file"), b"ours", KIND)
    assert sorted(os.listdir(tmp_path)) == [f".file-0{PARTIAL}", "file"]  # whose it is cannot be told


@pytest.mark.parametrize("there", ["link", "pipe", "text"])
def test_what_is_not_a_file_of_mgmt_stays(tmp_path: Path, there: str) -> None:
    own, path = tmp_path / "own", tmp_path / "file"
    assert write_own(own, "# Written by mgmt; 1\n", what="unit")
    assert not write_own(own, "# Written by mgmt; 1\n", what="unit")
    match there:
        case "link":
            path.symlink_to(own)
        case "pipe":
            os.mkfifo(path)
        case _:
            path.write_text("mine")
    with pytest.raises(RefusedError, match="was not written by mgmt"):
        write_own(path, "# Written by mgmt; 2\n", what="unit")
    assert own.read_text() == "# Written by mgmt; 1\n"
    assert partials(tmp_path) == []


def test_a_slash_at_the_end_is_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        replace_own(f"{tmp_path}/file/", b"ours", KIND)
    assert os.listdir(tmp_path) == []
