"""Private by default; as the user's umask says where mgmt says so."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mgmt.umask import keep_private, shared


@pytest.fixture(autouse=True)
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("mgmt.umask._Given.umask", None)
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of_a_new_file(folder: Path, name: str) -> int:
    path = folder / name
    path.touch()
    return path.stat().st_mode & 0o777


def test_only_a_block_of_shared_is_open_to_others(tmp_path: Path) -> None:
    keep_private()
    assert mode_of_a_new_file(tmp_path, "before") == 0o600
    with shared():
        with shared():
            assert mode_of_a_new_file(tmp_path, "inside") == 0o644
        assert mode_of_a_new_file(tmp_path, "still inside") == 0o644
    assert mode_of_a_new_file(tmp_path, "between") == 0o600
    with pytest.raises(FileExistsError), shared():
        os.mkdir(tmp_path)
    assert mode_of_a_new_file(tmp_path, "after") == 0o600


def test_the_umask_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with shared():
        assert mode_of_a_new_file(tmp_path, "file") == 0o644
    assert mode_of_a_new_file(tmp_path, "other") == 0o644


def test_threads_leave_the_umask_private(tmp_path: Path) -> None:
    keep_private()

    def work(number: int) -> int:
        with shared():
            return mode_of_a_new_file(tmp_path, str(number))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(200))) == {0o644}
    assert mode_of_a_new_file(tmp_path, "after") == 0o600
