"""Temporary folders are removed by their process, or, if that was killed, by the next one."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from mgmt.services.steps.scratch import remove_abandoned_scratch, scratch_folder


@pytest.fixture(autouse=True)
def _temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_scratch_folder_is_private_and_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        Path(folder, "index").write_text("some")
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_in_use_is_kept(tmp_path: Path) -> None:
    with scratch_folder() as first, scratch_folder() as second:
        remove_abandoned_scratch()
        assert sorted(map(str, tmp_path.iterdir())) == sorted([first, second])


def test_only_scratch_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with scratch_folder() as folder:
            Path(folder, "index").write_text("some")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    others = [tmp_path / "mgmt-notes", tmp_path / "mgmt-scratch-of-mine"]
    for other in others:
        other.mkdir()
    (tmp_path / "mgmt-scratch-abcdefgh").symlink_to(others[0])
    remove_abandoned_scratch()
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "mgmt-scratch-abcdefgh"])
